"""Attention of several prompts: read off curves that were measured at some numbers of prompts and some lengths."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.program.prompts import PromptCurves

FLOOR, TOKEN, PAIR = 8_000, 20, 0.02
LENGTHS = (24, 96, 384, 1536, 3072)


def planted(length: float) -> float:
    """A floor, a share of each token and one of each pair of them."""
    return FLOOR + TOKEN * length + PAIR * length**2


def curve(factor: float = 1.0) -> tuple[tuple[int, int], ...]:
    return tuple((length, round(factor * planted(length))) for length in LENGTHS)


def test_at_measured_numbers_and_lengths_the_measurement_decides() -> None:
    curves = PromptCurves({1: curve(), 6: curve(2.0)})
    for length, ns in curve():
        assert curves.at(1, length) == ns
        assert curves.at(6, length) == pytest.approx(2 * ns, abs=1)


@given(st.floats(24, 3072))
def test_between_lengths_a_price_is_never_below_floor_tokens_and_pairs_and_little_above(length: float) -> None:
    found = PromptCurves({1: curve()}).at(1, length)
    assert planted(length) - 1 <= found <= 1.35 * planted(length)


@given(st.lists(st.integers(1, 10**7), min_size=5, max_size=5).map(sorted))
def test_where_times_rise_so_do_prices(ns: list[int]) -> None:
    curves = PromptCurves({1: tuple(zip(LENGTHS, ns, strict=True))})
    found = [curves.at(1, length) for length in range(1, 6000, 37)]
    assert all(after >= before * (1 - 1e-9) for before, after in pairwise(found))


def test_between_numbers_of_prompts_and_beyond_them_prices_lie_on_a_line() -> None:
    curves = PromptCurves({1: ((100, 1_000),), 3: ((100, 1_200),), 6: ((100, 2_100),)})
    assert [curves.at(n, 100) for n in (1, 2, 3, 4, 6, 8)] == [1_000, 1_100, 1_200, 1_500, 2_100, 2_700]


def test_beyond_the_longest_a_price_grows_with_the_square_and_below_the_shortest_it_stays() -> None:
    curves = PromptCurves({1: ((100, 1_000), (200, 3_000))})
    assert (curves.at(1, 400), curves.at(1, 7)) == (12_000, 1_000)


def test_where_only_single_prompts_were_measured_each_further_one_adds_its_arithmetic_at_the_best_rate() -> None:
    curves = PromptCurves({1: ((100, 1_000), (200, 2_000))})  # 0.1 ns and 0.05 ns a pair
    assert curves.at(4, 100) == 1_000 + 3 * 500


def test_unequal_prompts_count_by_their_arithmetic_but_never_less_than_the_longest() -> None:
    curves = PromptCurves({1: curve(), 2: curve(1.1)})
    assert curves.of(((0, 384), (0, 384))) == curves.at(2, 384)
    assert curves.of(((0, 3000), (0, 24))) == curves.at(1, 3000) > curves.at(2, (3000**2 / 2) ** 0.5)


def test_a_chunk_attends_to_its_cached_context_too() -> None:
    curves = PromptCurves({1: curve()})
    assert curves.of(((384, 384),)) == curves.at(1, (3 * 384**2) ** 0.5)
    halves = curves.of(((0, 384),)) + curves.of(((384, 384),))
    assert halves > curves.of(((0, 768),))
