"""The streams of a serving engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Streams:
    """Where an engine's work goes: ``forward`` computes, ``schedule`` brings inputs and ``copy`` takes tokens back."""

    forward: Any
    schedule: Any
    copy: Any

    @classmethod
    def new(cls) -> Streams:
        """Three streams of the current device."""
        return cls(*(torch.cuda.Stream() for _ in range(3)))
