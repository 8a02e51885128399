"""How finely this project's decode attention cuts contexts, and between which batches its time runs on."""

from __future__ import annotations

from collections.abc import Hashable

MOST = 32
"""Parts of one context; more gain nothing."""


def num_splits_for(rows: int, kv_heads: int, dim: int, multiprocessors: int) -> int:
    """Parts to cut every context into, so that programs fill the device: 4 run on a multiprocessor at dim 128, 8 at 64.

    Few rows are cut until one wave of programs is full. More than one wave is cut in two where the last would hold
    less than a third of a wave, and the others idle behind it. From a sweep on an H200.
    """
    wave, programs = _wave(dim, multiprocessors), rows * kv_heads
    if programs <= wave:
        return min(MOST, wave // programs)
    return 2 if 0 < programs % wave < wave / 3 else 1


def regime(rows: int, kv_heads: int, dim: int, multiprocessors: int) -> Hashable:
    """What batches have in common whose times lie on one line: their parts, and how many waves these make.

    Where contexts are cut into three parts and more, parts become fewer as rows become more, and fill one wave always:
    that is one regime.
    """
    splits = num_splits_for(rows, kv_heads, dim, multiprocessors)
    if splits > 2:
        return "filled"
    return splits, -(-rows * kv_heads * splits // _wave(dim, multiprocessors))


def _wave(dim: int, multiprocessors: int) -> int:
    """Programs that run at once."""
    return 4 * multiprocessors * 128 // dim
