"""Records as columns: equal to the list of the same records, however they were added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.timeline.rows import Rows


@dataclass(frozen=True, slots=True)
class Thing:
    time: int
    good: bool
    name: str


things = st.lists(st.builds(Thing, st.integers(-(1 << 62), 1 << 62), st.booleans(), st.sampled_from(("a", "b"))))


@given(records=things, low=st.integers(0, 4))
def test_rows_are_the_sequence_of_their_records(records: list[Thing], low: int) -> None:
    rows = Rows(Thing, records)
    assert rows == records
    assert list(rows) == records
    assert rows[low:] == records[low:]
    assert [rows[i] for i in range(len(rows))] == records
    assert all(isinstance(thing.good, bool) for thing in rows)
    assert rows.column("time").tolist() == [thing.time for thing in records]
    copy = rows.copy()
    copy.append(Thing(1, good=True, name="c"))
    assert len(rows) == len(records)
    assert copy != rows
    rows.append(Thing(2, good=False, name="d"))
    assert (rows[-1].name, copy[-1].name, len(copy)) == ("d", "c", len(rows))


def test_many_are_added_at_once() -> None:
    rows = Rows(Thing)
    rows.extend(2, np.array([4, 9]), False, "x")
    assert rows == [Thing(4, good=False, name="x"), Thing(9, good=False, name="x")]
