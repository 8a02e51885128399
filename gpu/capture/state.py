"""The tensors that a function finds and changes: put back before each run, and compared after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from gpu.capture.trace import Trace

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""How far results of other kernels for the same work may lie apart, against the largest of the values."""


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor's storage, seen as numbers of its type."""
    storage = tensor.untyped_storage()
    flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return flat.set_(storage, 0, (storage.nbytes() // tensor.element_size(),))


@dataclass(frozen=True)
class Snapshot:
    """The state of all tensors that a run found outside, and of the random generators it names, to be put back."""

    kept: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()
    generators: tuple[tuple[torch.Generator, torch.Tensor], ...] = ()

    @classmethod
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def of(cls, trace: Trace, but: Sequence[int] = ()) -> Snapshot:
        """Copies of what a run found; ``but`` are addresses to leave out."""
        found = [whole(tensor) for address, tensor in trace.outside.items() if address not in but]
        generators = tuple((generator, generator.get_state()) for generator in trace.generators)
        return cls(tuple((tensor, tensor.clone()) for tensor in found), generators)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def restore(self) -> None:
        """Put the state back."""
        for tensor, copy in self.kept:
            tensor.copy_(copy)
        for generator, state in self.generators:
            generator.set_state(state)


@dataclass(frozen=True)
class Outcome:
    """What a run left: the leaves of what it returned, and the tensors outside that it writes to, by address."""

    returned: tuple[Any, ...]
    written: dict[int, torch.Tensor]

    @classmethod
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def of(cls, returned: Any, trace: Trace) -> Outcome:
        """Copies, which later runs leave alone."""
        leaves = tuple(x.detach().clone() if isinstance(x, torch.Tensor) else x for x in tree_leaves(returned))
        return cls(leaves, {address: whole(trace.outside[address]).clone() for address in trace.written})


def apart(one: Any, other: Any) -> str | None:
    """How two results differ, in words; None if they are equal as far as other kernels for the same work may be."""
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        same = type(one) is type(other) and (not isinstance(one, bool | int | float | str) or one == other)
        return None if same else f"{one!r}, replayed {other!r}"
    if one.shape != other.shape:
        return f"sizes {list(one.shape)}, replayed {list(other.shape)}"
    if not (one.is_floating_point() or one.is_complex()):
        return None if torch.equal(one, other) else f"{int((one != other).sum())} of {one.numel()} values differ"
    a, b = one.detach().double(), other.detach().double()
    far = (a - b).abs()
    limit = TOLERANCE.get(one.dtype, 1e-4) * float(a.nan_to_num(0.0, 0.0, 0.0).abs().max() if a.numel() else 0.0)
    unequal = ~((far <= limit) | (a == b) | (a.isnan() & b.isnan()))
    if not unequal.any():
        return None
    most = float(far.nan_to_num(float("inf")).max())
    return f"{int(unequal.sum())} of {one.numel()} values differ, by up to {most:.3g}"
