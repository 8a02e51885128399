"""Trains composed from what repeats in them: the same pace as a scan over all their kernels."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.fast.blocks import Blocks, Times, Tree, folded
from sim.fast.pace import Pace
from sim.fast.segments import Train
from sim.program.calls import Call
from sim.program.constants import Constants


def spelled(tree: Tree) -> list[int]:
    """A tree's numbers one after the other."""
    found: list[int] = []
    for part in tree:
        if isinstance(part, int):
            found.append(part)
        else:
            found += spelled(part.tree) * part.count if isinstance(part, Times) else spelled(part)
    return found


sequences = st.lists(
    st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(1, 6)), min_size=1, max_size=5
).map(lambda parts: list(chain.from_iterable(part * count for part, count in parts)))


@settings(max_examples=examples(100))
@given(numbers=sequences)
def test_a_folded_sequence_spells_the_same(numbers: list[int]) -> None:
    assert spelled(folded(numbers)) == numbers


@pytest.mark.parametrize(
    ("numbers", "tree"),
    [
        ([7] * 9, (Times(9, (7,)),)),
        ([5, 1, 2, 1, 2, 1, 2, 6], (5, Times(3, (1, 2)), 6)),
        ([1, 1, 1, 2, 1, 1, 1, 2], (Times(2, (Times(3, (1,)), 2)),)),
        ([1, 2, 3], (1, 2, 3)),
    ],
)
def test_what_repeats_stands_once(numbers: list[int], tree: Tree) -> None:
    assert folded(numbers) == tree


@settings(max_examples=examples(150))
@given(
    at=sequences.filter(lambda numbers: len(numbers) > 1),
    ns=st.lists(st.integers(0, 40), min_size=6, max_size=6),
    later_ns=st.lists(st.integers(0, 40), min_size=6, max_size=6),
    held=st.lists(st.integers(0, 9), min_size=6, max_size=6),
    change=st.frozensets(st.integers(0, 5)),
    gap=st.integers(0, 9),
    latency=st.integers(0, 30),
)
def test_a_linked_pace_is_the_scanned_one(
    at: list[int], ns: list[int], later_ns: list[int], held: list[int], change: frozenset[int], gap: int, latency: int
) -> None:
    constants = Constants(stream_gap=gap, launch_latency=latency)
    calls = [Call("launch", held[i], 3) for i in at]
    blocks = Blocks(folded(at[1:]), dict(zip(at[1:], calls[1:], strict=True)), constants, max, change)
    for durations in (ns, later_ns, ns):  # what is kept of one step is not taken for another's
        scanned = Pace.of(np.cumsum([call.ns for call in calls]), np.array(durations)[at], constants)
        linked = Pace.linked(calls[0], durations[at[0]], blocks.link(durations), durations[at[-1]], len(at), constants)
        for field in ("count", "first", "slack", "before", "last"):
            assert getattr(linked, field) == getattr(scanned, field), field


@settings(max_examples=examples(150))
@given(
    at=sequences.filter(lambda numbers: len(numbers) > 1),
    ns=st.lists(st.integers(0, 40), min_size=6, max_size=6),
    later_ns=st.lists(st.integers(0, 40), min_size=6, max_size=6),
    held=st.lists(st.integers(0, 9), min_size=6, max_size=6),
    gap=st.integers(0, 9),
    latency=st.integers(0, 30),
)
def test_a_pace_in_few_numbers_is_the_scanned_one(
    at: list[int], ns: list[int], later_ns: list[int], held: list[int], gap: int, latency: int
) -> None:
    constants = Constants(stream_gap=gap, launch_latency=latency)
    calls = {i: Call("launch", held[i], 3) for i in range(6)}
    train = Train(np.array(at), np.zeros(len(at), dtype=np.int64), tuple(calls[i] for i in at))
    returns = np.cumsum([calls[i].ns for i in at])
    for durations in (ns, later_ns, ns):
        scanned = Pace.of(returns, np.array([durations[i] for i in at]), constants)
        found = train.paced(durations, constants)
        expected = (len(at), scanned.first, scanned.slack, scanned.before, scanned.last)
        assert (found.count, found.first, found.slack, found.before, found.last) == expected
        assert found.starts(50, 7).tolist() == scanned.starts(50, 7).tolist()
