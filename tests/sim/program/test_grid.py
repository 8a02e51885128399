"""Measured durations by two sizes: straight lines between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.program.grid import Grid, grids

ascending = st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True).map(sorted)


@st.composite
def planes(draw: st.DrawFn) -> tuple[Grid, list[int], list[int], list[int]]:
    """A grid over what is linear in the batch, in the context and in their product, its lines and coefficients."""
    batches, contexts = draw(ascending), draw(ascending)
    a, b, c, d = coefficients = [draw(st.integers(0, 1000)) for _ in range(4)]
    columns = {n: tuple((x, a + b * n + c * x + d * n * x) for x in contexts) for n in batches}
    return Grid(columns), batches, contexts, coefficients


@given(planes(), st.integers(1, 10_000), st.floats(1, 10_000))
def test_a_floor_a_rate_and_their_like_come_back_between_all_points(
    plane: tuple[Grid, list[int], list[int], list[int]], batch: int, context: float
) -> None:
    grid, batches, contexts, (a, b, c, d) = plane
    n, x = grid.nearest(batch, context)
    assert batches[0] <= n <= batches[-1]
    assert contexts[0] <= x <= contexts[-1]
    assert grid.at(n, x) == pytest.approx(a + b * n + c * x + d * n * x, rel=1e-9)


def test_a_grid_reaches_as_far_as_all_of_its_curves() -> None:
    grid = Grid({2: ((10, 1), (50, 1)), 4: ((20, 1), (90, 1))})
    assert [grid.nearest(batch, x) for batch, x in ((1, 5.0), (3, 30.5), (9, 70.0))] == [(2, 20), (3, 30.5), (4, 50)]


def test_tables_of_one_shape_make_one_grid_over_their_batches() -> None:
    made = grids([((8, 2, 1), ((5, 100),)), ((8, 1, 1), ((5, 7),)), ((8, 2, 3), ((5, 200),))])
    assert {shape: grid.at(*grid.nearest(2, 5)) for shape, grid in made.items()} == {(8, 2): 150, (8, 1): 7}


def by_tens(batch: int) -> int:
    return batch // 10


def test_a_batch_is_read_off_the_line_of_its_regime_and_beyond_its_ends() -> None:
    grid = Grid({n: ((5, 100 * (n // 10) + n),) for n in (2, 12, 14, 23, 31)}, by_tens)
    assert [grid.at(*grid.nearest(batch, 5)) for batch in (11, 13, 19)] == [111, 113, 119]
    assert grid.nearest(27, 5) == (23, 5)  # alone in its regime: what is beyond it is for a roofline to say
    assert grid.nearest(45, 5) == (31, 5)


def test_a_regime_of_which_nothing_was_measured_lies_between_its_neighbours() -> None:
    grid = Grid({8: ((5, 100),), 22: ((5, 240),)}, by_tens)
    assert grid.at(*grid.nearest(15, 5)) == 170
