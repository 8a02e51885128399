"""The passes of a model, bound to their buffers once a size and kept for as long as a session lasts."""

from __future__ import annotations

import torch

from gpu.model.llama import Calls, Llama
from gpu.model.meta import TABLE
from gpu.model.ops import Prompts

MOST_PREFILLS = 64
"""Sizes of prefill steps whose launches are kept bound; decode steps of all sizes are."""


class Forwards:
    """Binding all launches of a size anew takes the host some 5 ms, which no step of a server should pay twice.

    ``placed`` is the flat table that a step's rows are placed in, ``width`` the columns of a decode row. ``prompts``
    are those of the prefill step that is about to be launched.
    """

    def __init__(self, model: Llama, placed: torch.Tensor, width: int) -> None:
        self.model = model
        self.placed = placed
        self.prompts: Prompts | None = None
        self._width = width
        self._decodes: dict[int, Calls] = {}
        self._prefills: dict[tuple[int, int, bool], Calls] = {}

    def decode(self, rows: int) -> Calls:
        """Launches of a decode step of so many rows."""
        if rows not in self._decodes:
            self._decodes[rows] = self.model.decode(self.placed[: rows * self._width].view(rows, -1))
        return self._decodes[rows]

    def prefill(self, tokens: int, decode: int = 0, *, cached: bool = False) -> Calls:
        """Launches of a step of so many tokens, of which the first are ``decode`` rows, whatever prompts they are of.

        ``cached`` says that some prompt goes on from the cache.
        """
        key = tokens, decode, cached
        if key not in self._prefills:
            if len(self._prefills) >= MOST_PREFILLS:
                self._prefills.pop(next(iter(self._prefills)))
            meta = self.placed[: tokens * TABLE].view(tokens, TABLE)
            start = wide_start(tokens)
            wide = self.placed[start : start + decode * self._width].view(decode, -1) if decode else None
            self._prefills[key] = self.model.prefill(meta, self._these_prompts, wide, cached=cached)
        return self._prefills[key]

    def _these_prompts(self) -> Prompts:
        assert self.prompts is not None
        return self.prompts


def wide_start(tokens: int) -> int:
    """Where the decode rows' table begins behind so many rows: at a multiple of 64 bytes, as kernels load it."""
    return -(-tokens * TABLE // 16) * 16
