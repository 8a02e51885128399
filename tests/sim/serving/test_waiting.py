"""Queues of requests that hold no blocks: in order of arrival, or the shortest prompt first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.serving.request import Request
from sim.serving.waiting import ORDERINGS, ArrivalOrder, LongestPrefixFirst, ShortestFirst, Waiting


def request(number: int, context: int = 5) -> Request:
    return Request(number, context, max_tokens=2, arrival=number)


def filled(queue: Waiting, *contexts: int) -> Waiting:
    for number, context in enumerate(contexts):
        queue.add(request(number, context), context)
    return queue


def ids(queue: Waiting) -> list[int]:
    assert [r.id for r in queue] == [queue[i].id for i in range(len(queue))] == [r.id for r in queue[:]]
    return [r.id for r in queue]


def test_arrivals_go_to_the_end_and_those_put_back_to_the_front() -> None:
    queue = filled(ArrivalOrder(), 5, 3, 9)
    queue.take([request(0), request(1, 3)])
    queue.put_back([request(0), request(1, 3)], [8, 6])
    assert ids(queue) == [0, 1, 2]


def test_the_shortest_goes_first_and_the_older_of_equal_ones() -> None:
    queue = filled(ShortestFirst(), 5, 3, 9, 3)
    assert ids(queue) == [1, 3, 0, 2]
    queue.take([request(0)])
    queue.put_back([request(0)], [10])
    assert ids(queue) == [1, 3, 2, 0]


@pytest.mark.parametrize("kind", [ArrivalOrder, ShortestFirst])
def test_one_that_does_not_wait_cannot_be_taken_and_nobody_leaves(kind: type[Waiting]) -> None:
    queue = filled(kind(), 5, 5, 5)
    for chosen in ([request(0), request(7)], [request(7)], [request(1), request(1)]):
        with pytest.raises(ValueError, match=r"^the policy chose requests \[.*\]: not all of them wait$"):
            queue.take(chosen)
        assert ids(queue) == [0, 1, 2]


@given(st.sampled_from(sorted(ORDERINGS)), st.lists(st.integers(1, 6)), st.data())
def test_whoever_is_taken_the_others_keep_their_order(ordering: str, contexts: list[int], data: st.DataObject) -> None:
    queue = filled(ORDERINGS[ordering](), *contexts)
    before = ids(queue)
    chosen = data.draw(st.lists(st.sampled_from(before), unique=True)) if before else []
    queue.take([request(number, contexts[number]) for number in chosen])
    assert ids(queue) == [number for number in before if number not in chosen]


def test_of_a_long_queue_the_oldest_128_are_sorted_by_what_is_cached() -> None:
    queue = filled(LongestPrefixFirst(), *[1] * 130)
    queue.bind(lambda request: request.id)
    assert ids(queue) == [*range(127, -1, -1), 128, 129]
