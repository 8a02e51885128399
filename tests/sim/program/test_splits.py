"""How contexts are cut into parts, and which batches' times lie on one line."""

from __future__ import annotations

import pytest

from sim.program.splits import num_splits_for, regime

H200 = 132
"""Multiprocessors."""


@pytest.mark.parametrize(
    ("rows", "kv_heads", "dim", "splits"),
    [(1, 8, 128, 32), (12, 8, 128, 5), (28, 8, 128, 2), (28, 8, 64, 4), (6, 2, 64, 32), (66, 8, 128, 1)],
)
def test_contexts_are_cut_until_one_wave_of_programs_fills_the_device(
    rows: int, kv_heads: int, dim: int, splits: int
) -> None:
    assert num_splits_for(rows, kv_heads, dim, H200) == splits


@pytest.mark.parametrize(("rows", "splits"), [(67, 2), (87, 2), (88, 1), (100, 1), (132, 1), (140, 2)])
def test_a_last_wave_of_less_than_a_third_is_cut_in_two(rows: int, splits: int) -> None:
    assert num_splits_for(rows, 8, 128, H200) == splits


def test_a_regime_ends_where_parts_or_waves_change_and_while_parts_fill_a_wave_it_is_one() -> None:
    regimes = [regime(rows, 8, 128, H200) for rows in range(1, 133)]
    ends = [rows for rows in range(1, 132) if regimes[rows - 1] != regimes[rows]]
    assert ends == [22, 33, 66, 87]  # 8 programs a row and part, 528 at once
    assert regimes[0] == regimes[21] == "filled"
    assert regimes[32] == (2, 1)
    assert regimes[86] == (2, 3)
    assert regimes[131] == (1, 2)
