"""Attention of several prompts: read off curves that were measured at some numbers of prompts and some lengths."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.program.prompts import Cached, PromptCurves

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


CACHED = Cached(heads=32, multiprocessors=132, alone=30.0, paired=50.0)
"""132 multiprocessors hold 264 blocks of 128 queries: 32 heads make 32 blocks of each 128 tokens."""


@pytest.mark.parametrize(
    ("tokens", "a_key"),
    [(128, 30.0), (512, 30.0), (513, 50.0), (1024, 50.0), (1056, 100.0), (2048, 100.0)],
)
def test_a_cached_token_costs_what_blocks_alone_in_pairs_or_in_turns_take(tokens: int, a_key: float) -> None:
    assert CACHED.of([(4000, tokens)]) == 4000 * a_key


def test_pieces_of_several_prompts_share_the_device_until_their_blocks_fill_it() -> None:
    assert CACHED.of([(4000, 256), (1000, 256)]) == 4000 * 30.0  # 128 blocks: the longest of them
    assert CACHED.of([(4000, 512), (0, 512)]) == 4000 * 50.0  # 256, of which half have a context to read
    assert CACHED.of([(4000, 512)] * 8) == 8 * 128 * 4000 * 50.0 / 264  # 1,024: what all of them read


def test_a_piece_takes_what_a_prompt_as_long_takes_and_its_context_on_top() -> None:
    curves = PromptCurves({1: curve(), 6: curve(2.0)}, CACHED)
    assert curves.of([(4000, 384)]) == curves.at(1, 384) + 4000 * 30.0
    assert curves.of([(4000, 384), (0, 384)]) == curves.at(2, 384) + 4000 * 50.0
    assert curves.of([(0, 384)]) == PromptCurves({1: curve()}).of([(0, 384)])


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 2048)), min_size=1, max_size=6), st.integers(0, 5))
def test_more_cached_context_never_makes_a_step_faster(chunks: list[tuple[int, int]], which: int) -> None:
    curves = PromptCurves({1: curve(), 6: curve(2.0)}, CACHED)
    start, tokens = chunks[which % len(chunks)]
    longer = [*chunks[: which % len(chunks)], (start + 500, tokens), *chunks[which % len(chunks) + 1 :]]
    assert curves.of(longer) >= curves.of(chunks)
