"""The columns of a sweep as PyTorch tensors: many points of a closed batch at once on a GPU, or on its host."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu.availability import require_gpu
from sim.studies.replicas import Arrays

MOST = 1 << 18
"""Points at once: some hundred columns of 8 bytes a point, and all deliveries, are held at a time."""


def arrays_on(device: str) -> Arrays:
    """Columns on ``cpu`` or ``cuda``. Raises ``ScenarioError`` where there is no such device.

    Whole numbers of 64 bits and IEEE doubles that are multiplied and rounded, half to even: what a tensor says is what
    NumPy says, to the nanosecond.
    """
    if device == "cuda":
        require_gpu("--device cuda")
    return Arrays(partial(_put, device), _get, MOST)


def _put(device: str, column: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(column)).to(device)


def _get(tensor: torch.Tensor) -> npt.NDArray[Any]:
    column: npt.NDArray[Any] = tensor.cpu().numpy()
    return column
