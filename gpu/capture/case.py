"""A case of the suite: a function as a user would write it, and what is usually said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from gpu.capture.inputs import MakeInputs
from gpu.capture.target import Target


def nothing(_seed: int, _device: str) -> tuple[()]:
    """No arguments."""
    return ()


def rows(seed: int, device: str) -> tuple[torch.Tensor]:
    """A batch of 32 rows of 64 numbers."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(32, 64, generator=generator).to(device),)


@dataclass(frozen=True, slots=True)
class Case:
    """``row`` is what it is about, ``claim`` what the chapter or its like says, ``build`` makes the function.

    ``needs_gpu``: it cannot run on a CPU at all.
    """

    name: str
    row: str
    claim: str
    build: Callable[[str], Callable[..., Any]]
    inputs: MakeInputs = field(default=rows)
    needs_gpu: bool = False

    def target(self, on: str) -> Target:
        """The case as a function to try."""
        return Target(self.name, self.build(on), self.inputs)
