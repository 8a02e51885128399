"""A function's inputs: where they lie, and other values for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from scenarios.errors import Problem, ScenarioError

_FORM = re.compile(r"(?P<dtype>[a-z]+[0-9]*)\[(?P<sizes>[0-9, ]*)\](?:<(?P<below>[0-9]+))?")
EXPECTED = "a type and sizes, such as 'float32[8,1024]', and for integers a bound, such as 'int64[8]<32000'"

MakeInputs = Callable[[int, str], Sequence[Any]]
"""From a seed and a device's name to a function's arguments."""


def drawn(texts: Sequence[str]) -> MakeInputs:
    """Inputs drawn by texts such as ``float32[8,1024]`` (normal) and ``int64[8]<32000`` (uniform).

    Raises ``ScenarioError`` for texts of another form.
    """
    problems, forms = [], []
    for text in texts:
        match = _FORM.fullmatch(text.strip())
        dtype = getattr(torch, match["dtype"], None) if match else None
        if match is None or not isinstance(dtype, torch.dtype):
            problems.append(Problem("--input", "", f"found {text!r}, expected {EXPECTED}"))
            continue
        integer = not (dtype.is_floating_point or dtype.is_complex)
        if integer != (match["below"] is not None) and dtype is not torch.bool:
            problems.append(Problem("--input", "", f"found {text!r}, expected {EXPECTED}"))
            continue
        sizes = [int(size) for size in match["sizes"].split(",") if size.strip()]
        forms.append((dtype, sizes, int(match["below"] or 2) if integer else None))
    if problems:
        raise ScenarioError(problems)

    def make(seed: int, device: str) -> list[Any]:
        generator = torch.Generator().manual_seed(seed)
        return [
            (
                torch.randn(sizes, generator=generator).to(dtype)
                if below is None
                else torch.randint(below, sizes, generator=generator).to(dtype)
            ).to(device)
            for dtype, sizes, below in forms
        ]

    return make


class StaticInputs:
    """The arguments of a graph: tensors that stay where they are, into which other values are copied."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self._leaves, self._form = tree_flatten(tuple(arguments))

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What to call the function with."""
        arguments: tuple[Any, ...] = tree_unflatten(self._leaves, self._form)
        return arguments

    def misfit(self, arguments: Sequence[Any]) -> str | None:
        """Why other arguments cannot be copied into these, in words; None if they can."""
        leaves, form = tree_flatten(tuple(arguments))
        if form != self._form:
            return "the arguments have another structure with another seed"
        for number, (old, new) in enumerate(zip(self._leaves, leaves, strict=True)):
            if isinstance(old, torch.Tensor) and (old.shape, old.dtype) != (new.shape, new.dtype):
                return f"input {number} is {described(old)}, with another seed {described(new)}"
        return None

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def load(self, arguments: Sequence[Any]) -> None:
        """Copy tensors' values in; what is no tensor takes the other's place, which no graph will see."""
        leaves, _ = tree_flatten(tuple(arguments))
        for number, (old, new) in enumerate(zip(self._leaves, leaves, strict=True)):
            if isinstance(old, torch.Tensor):
                old.copy_(new)
            else:
                self._leaves[number] = new


def described(tensor: torch.Tensor) -> str:
    """A tensor's type and sizes."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
