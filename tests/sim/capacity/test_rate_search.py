"""Bracketing and bisection on conditions whose threshold is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.studies.capacity.search import DOUBLINGS, Bracket, close_in


@given(st.floats(0.01, 1_000), st.floats(0.01, 1_000), st.floats(0.001, 0.2))
def test_a_bracket_holds_the_threshold_and_is_as_narrow_as_asked(threshold: float, start: float, part: float) -> None:
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return rate <= threshold

    found = close_in(holds, start, part)
    assert found.low <= threshold < found.high
    assert found.width <= part
    assert {found.low, found.high} <= set(tried)
    assert len(tried) == len(set(tried))


def test_it_doubles_then_bisects_on_geometric_middles() -> None:
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return rate < 10

    assert close_in(holds, 1, 0.3) == Bracket(8, pytest.approx(11.31, abs=0.01))
    assert tried == pytest.approx([1, 2, 4, 8, 16, 11.31], abs=0.01)


def test_what_always_or_never_holds_has_an_open_bracket() -> None:
    tried: list[float] = []
    assert close_in(lambda rate: tried.append(rate) is None, 1, 0.1).high == float("inf")
    assert len(tried) == DOUBLINGS
    assert close_in(lambda _: False, 1, 0.1).low == 0
