"""Where the modes' tokens part."""

from __future__ import annotations

import pytest

from gpu.tokens import Tokens, first_divergences, received, tokens_sentence
from sim.timeline.spans import Recorder, Served, Timeline

SAME: Tokens = {0: [5, 6, 7], 1: [8]}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({0: [5, 6, 7], 1: [8]}, {}),
        ({0: [5, 9, 9], 1: [8]}, {0: 1}),
        ({0: [4, 6, 7], 1: [7]}, {0: 0, 1: 0}),
        ({0: [5, 6], 1: [8]}, {0: 2}),
        ({0: [5, 6, 7]}, {1: 0}),
    ],
)
def test_a_request_differs_at_the_first_token_that_is_not_the_same_in_all_modes(
    other: Tokens, expected: dict[int, int]
) -> None:
    assert first_divergences({"serial": SAME, "again": SAME, "overlap": other}) == expected


def test_late_tokens_reach_nobody() -> None:
    plain = Recorder().timeline()
    timeline = Timeline(plain.tracks, plain.spans, (), (Served(0, 0, 1, 2, 2, "stop"),))
    assert received({0: [5, 6, 7]}, timeline) == {0: [5, 6]}


def test_the_sentence_counts_and_names_the_first_few() -> None:
    many: Tokens = {request: [request] for request in range(8)}
    assert tokens_sentence({"a": many, "b": many}) == "tokens: 8 requests agree in all modes"
    other = {**many, 3: [0]}
    assert tokens_sentence({"a": many, "b": other}) == (
        "tokens: 1 of 8 requests differ between modes: request 3 at token 0"
    )
    assert tokens_sentence({"a": many, "b": {}}).endswith("request 4 at token 0 and 3 more")
