"""Kernels of programs, back to back with their like in a graph. Times are microseconds, kernel plus graph gap."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from gpu.calibration.clock import BF16, DEV, per_op, rand

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Shapes of square products: of each one kernel is measured, never a program of them."""
ELEMENTS = tuple(1 << power for power in range(10, 29, 3))
Row = dict[str, Any]


def kernels() -> dict[str, list[Row]]:
    """Square products whose operands stay in the L2 cache while they fit, and additions of two vectors."""
    squares = []
    for n in SIZES:
        a, b, c = rand(n, n), rand(n, n), torch.empty(n, n, device=DEV, dtype=BF16)
        squares.append({"n": n, "us": per_op([partial(torch.mm, a, b, out=c)], 20 if n < 1000 else 4, reps=5)})
    adds = []
    for n in ELEMENTS:
        x, y, z = (torch.randn(n, device=DEV) for _ in range(3))
        adds.append({"elements": n, "us": per_op([partial(torch.add, x, y, out=z)], 20 if n < 1 << 22 else 2, reps=5)})
    return {"squares": squares, "adds": adds}
