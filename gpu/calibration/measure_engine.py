"""The fused kernels of our own engine, back to back in a graph. Times are microseconds, kernel plus graph gap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from gpu.calibration.clock import DEV, per_op, rand
from gpu.calibration.measure_kernels import ROWS
from gpu.kernels import fused
from gpu.model.meta import TABLE
from gpu.model.ops import EPSILON

SHAPES = ((4096, 14336, 32, 8, 128), (2048, 8192, 32, 8, 64), (896, 4864, 14, 2, 64), (1024, 3072, 16, 8, 128))
"""Hidden and intermediate size, query heads, KV heads and head size of the four model shapes."""
PAGES = 80
REPEAT = 20
Row = dict[str, Any]


def engine_kernels() -> list[Row]:
    """One row an operation, model shape and number of rows; ``width`` is elements a row that are read and written."""
    rows: list[Row] = []
    future = torch.zeros(1024, device=DEV, dtype=torch.int64)
    for hidden, intermediate, heads, kv_heads, dim in SHAPES:
        table, weight = rand(32768, hidden), rand(hidden)
        caches = rand(2, 65536, kv_heads, dim)
        rotary = torch.randn(4096, dim, device=DEV)
        norms = (rand(dim), rand(dim))
        for m in ROWS:
            meta = torch.zeros(m, TABLE + PAGES, device=DEV, dtype=torch.int32)
            meta[:, :TABLE] = torch.randint(1, 4096, (m, 1), device=DEV, dtype=torch.int32)
            x, residual = rand(m, hidden), rand(m, hidden)
            qkv, gate_up = rand(m, (heads + 2 * kv_heads) * dim), rand(m, 2 * intermediate)
            turned, written = (heads + kv_heads) * dim, kv_heads * dim
            cases: list[tuple[str, int, Callable[[], Any]]] = [
                ("embed", hidden, partial(fused.embed, meta, table)),
                ("add_norm", hidden, partial(fused.add_norm, x, residual, weight, EPSILON)),
                ("rope", turned, partial(fused.rope, qkv, meta, rotary, heads, None, EPSILON)),
                ("rope_norm", turned, partial(fused.rope, qkv, meta, rotary, heads, norms, EPSILON)),
                ("write_cache", written, partial(fused.write_cache, qkv, meta, caches[0], caches[1], heads)),
                ("silu_mul", intermediate, partial(fused.silu_mul, gate_up)),
            ]
            if hidden == SHAPES[0][0] and m <= future.shape[0]:
                placed = torch.empty_like(meta)
                cases.append(("resolve", meta.shape[1], partial(fused.resolve, meta, future, placed)))
            rows += [{"op": op, "rows": m, "width": width, "us": per_op([call], REPEAT)} for op, width, call in cases]
    return rows
