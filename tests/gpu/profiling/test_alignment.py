"""A trace's clock put on the host's by moments that both saw."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu.profiling.alignment import Marker, align


def test_without_drift_the_offset_is_the_middle_of_what_all_markers_allow() -> None:
    clock = align([Marker(995, 1015, 5), Marker(1993, 2023, 1008), Marker(3002, 3010, 2006)])
    assert (clock.drift, clock.offset, clock.error) == (0.0, 1000, 4)
    assert clock.host(5) == 1005


def test_a_drift_is_followed_and_costs_no_accuracy() -> None:
    markers = [Marker(round(1.001 * t) + 496, round(1.001 * t) + 504, t) for t in range(0, 100_000, 1000)]
    clock = align(markers)
    assert clock.drift == pytest.approx(0.001, rel=1e-6)
    assert clock.host(50_000) == pytest.approx(50_550, abs=1)
    assert clock.error <= 4


def test_markers_that_contradict_each_other_are_an_error_of_what_they_are_apart() -> None:
    markers = [Marker(100, 104, 0), Marker(100, 104, 0), Marker(1140, 1144, 1000), Marker(1100, 1104, 1000)]
    clock = align([*markers, Marker(2100, 2104, 2000), Marker(2100, 2104, 2000)])
    assert (clock.drift, clock.offset, clock.error) == (0.0, 122, 20)


def test_one_marker_is_not_enough() -> None:
    with pytest.raises(ValueError, match="two markers"):
        align([Marker(0, 1, 0)])


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 50_000), st.integers(0, 50_000)), min_size=3, max_size=30),
)
def test_the_true_offset_is_never_further_than_the_error_when_clocks_run_alike(
    offset: int, moments: list[tuple[int, int, int]]
) -> None:
    even = [Marker(t + offset - 40, t + offset + 40, t) for t in range(0, 10**9, 10**7)]
    wide = [Marker(t + offset - early, t + offset + late, t) for t, early, late in moments]
    clock = align([*even, *wide])
    for t in (0, 5 * 10**8, 10**9):
        assert abs(clock.host(t) - (t + offset)) <= clock.error + 1 + abs(clock.drift) * 10**9
