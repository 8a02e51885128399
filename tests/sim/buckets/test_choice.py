"""The list of buckets with the least total time, and its limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from sim.studies.buckets.choice import Choice, choose, total_ns

MOST = 7


@dataclass(frozen=True)
class Table:
    """Prices as numbers in a table: ``steps[rows]`` eager, ``graphs[rows, bucket]`` replayed."""

    steps: dict[int, int]
    graphs: dict[tuple[int, int], int]

    def eager(self, rows: int) -> int:
        return self.steps[rows]

    def replayed(self, rows: int, bucket: int) -> int:
        return self.graphs[rows, bucket]


class Linear:
    """A graph takes 100 and 1 a row of its bucket, an eager step 1000."""

    def eager(self, rows: int) -> int:
        del rows
        return 1000

    def replayed(self, rows: int, bucket: int) -> int:
        assert rows <= bucket
        return 100 + bucket


def lists(most: int, graphs: int) -> Iterator[tuple[int, ...]]:
    for count in range(1, graphs + 1):
        yield from combinations(range(1, most + 1), count)


def test_two_graphs_go_where_the_steps_are() -> None:
    steps = {3: 10, 40: 10, 41: 1}
    assert choose(steps, Linear(), graphs=2) == Choice((3, 41), 10 * 103 + 11 * 141)
    assert choose(steps, Linear(), graphs=1) == Choice((41,), 21 * 141)


def test_a_graph_more_than_pays_is_not_captured() -> None:
    assert choose({3: 10, 5: 1}, Linear(), graphs=8) == Choice((3, 5), 10 * 103 + 105)


def test_of_equal_lists_the_one_of_the_smaller_graph_is_chosen() -> None:
    flat = Table({1: 10, 2: 10}, {(1, 1): 10, (1, 2): 10, (2, 2): 10})
    assert choose({1: 1, 2: 1}, flat, graphs=1) == Choice((1,), 20)


def test_where_memory_ends_below_the_largest_batch_it_runs_eager() -> None:
    found = choose({3: 10, 40: 1}, Linear(), fits=lambda graphs, largest: graphs * 5 + largest <= 20)
    assert found == Choice((3,), 10 * 103 + 1000)
    assert choose({3: 10}, Linear(), fits=lambda _graphs, _largest: False) is None


def test_padding_to_a_size_that_never_comes_is_chosen_when_its_kernels_are_faster() -> None:
    graphs = {(r, b): 100 + (0 if b == 4 else 50) for b in range(1, 6) for r in range(1, b + 1)}
    prices = Table(dict.fromkeys(range(1, 6), 1000), graphs)
    assert choose({3: 10, 5: 1}, prices, graphs=2) == Choice((4, 5), 10 * 100 + 150)


@given(st.data())
def test_no_list_within_the_limits_is_better(data: st.DataObject) -> None:
    price = st.integers(1, 50)
    steps = data.draw(st.dictionaries(st.integers(1, MOST), st.integers(1, 9), min_size=1), "steps by rows")
    most = max(steps)
    eager = {r: data.draw(price) for r in range(1, most + 1)}
    graphs = {(r, b): data.draw(price) for b in range(1, most + 1) for r in range(1, b + 1)}
    prices = Table(eager, graphs)
    limit = data.draw(st.integers(1, most), "graphs")
    room = data.draw(st.integers(0, 3 * most), "memory")

    def fits(number: int, largest: int) -> bool:
        return 2 * number + largest <= room

    found = choose(steps, prices, graphs=limit, fits=fits)
    allowed = [one for one in lists(most, limit) if fits(len(one), one[-1])]
    if found is None:
        assert not allowed
    else:
        assert found.buckets in allowed
        assert found.total_ns == total_ns(steps, prices, found.buckets)
        assert found.total_ns == min(total_ns(steps, prices, one) for one in allowed)
