"""Which points a sweep has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.errors import ScenarioError
from sim.studies.sweep.axes import Axis, points_of


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("workload.batch=1..16*2", ["1", "2", "4", "8", "16"]),
        ("workload.batch=1..20*3", ["1", "3", "9"]),
        ("n=2..5", ["2", "3", "4", "5"]),
        ("n=64..256+96", ["64", "160", "256"]),
        ("host.scale=0.5, 1,2", ["0.5", "1", "2"]),
        ("workload.batch=1..4,64", ["1", "2", "3", "4", "64"]),
        ("model=tiny,qwen3-0.6b", ["tiny", "qwen3-0.6b"]),
    ],
)
def test_values_are_lists_and_ranges(text: str, values: list[str]) -> None:
    axis = Axis.parse(text)
    assert (axis.key, list(axis.values)) == (text.split("=", maxsplit=1)[0], values)


@pytest.mark.parametrize(
    "text", ["n", "n=", "=3", "n=1,,2", "n=5..1", "n=0..8*2", "n=1..9*1", "n=1..9+0", "n=2,2", "n=0.1..4"]
)
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="--vary"):
        Axis.parse(text)


def test_a_grid_has_every_combination_at_every_seed() -> None:
    points = points_of([Axis.parse("a=1,2"), Axis.parse("b=x,y,z")], range(5, 7))
    assert len({point.digest("base") for point in points}) == 12
    assert (points[0].overrides, points[0].seed) == (("a=1", "b=x"), 5)
    assert (points[-1].overrides, points[-1].seed) == (("a=2", "b=z"), 6)
    assert points[0].digest("base") != points[0].digest("another scenario")


@given(count=st.integers(1, 30), seed=st.integers(0, 9))
def test_a_latin_hypercube_takes_every_value_equally_often(count: int, seed: int) -> None:
    axes = [Axis.parse("a=1..1000"), Axis.parse("b=1..5")]
    points = points_of(axes, [seed], "lhs", count)
    assert len(points) == count == len({point.overrides[0] for point in points})
    taken = [point.overrides[1] for point in points]
    assert max(taken.count(f"b={i}") for i in range(1, 6)) == -(-count // 5)
    assert points == points_of(axes, [seed], "lhs", count)


def test_a_grid_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(ScenarioError, match="points, expected at most"):
        points_of([Axis.parse("a=1..10000"), Axis.parse("b=1..10000")], [0])
