"""Invariants of what passes from step to step on the device: inputs, staging buffers, the FutureMap's slots."""

from __future__ import annotations

import numpy as np

from sim.check.invariant import Evidence, Found, Invariants
from sim.check.timelines import told
from sim.timeline.spans import Timeline

RELAYS = Invariants()
"""Every invariant of relays, by name; what a timeline does not show, such as a serial loop's, they do not ask."""

STAGING = 2
"""Staging buffers of an engine: one is filled while the other is read."""

Rows = dict[int, list[int]]


@RELAYS.state(
    "inputs-in-time",
    forbids="a step that reads its inputs before they have arrived, or tokens that leave before they are sampled",
    why="nothing but an event orders the copies of one stream and the kernels of another",
)
def inputs_in_time(evidence: Evidence) -> Found:
    """Under overlap a step's resolve kernel starts after its copy to the device, its copy back after its store."""
    timeline = evidence.timeline
    resolves, stores, there, back = _relays(timeline)
    for step, row in resolves.items():
        for copy in there.get(step, ())[-1:]:
            if _span(timeline, row[0])[0] < _span(timeline, copy)[1]:
                yield f"{told(timeline, row[0])} starts before {told(timeline, copy)} has ended", (row[0], copy)
    for step, row in stores.items():
        for copy in back.get(step, ())[:1]:
            if step in resolves and _span(timeline, copy)[0] < _span(timeline, row[-1])[1]:
                yield f"{told(timeline, copy)} starts before {told(timeline, row[-1])} has ended", (copy, row[-1])


@RELAYS.state(
    "staging-kept",
    forbids="inputs of a step that overwrite those of the step two before, while that has not read them yet",
    why="pinned and staging buffers come in pairs: the third step in a row uses the first one's again",
)
def staging_kept(evidence: Evidence) -> Found:
    """A step's copy to the device starts after the resolve kernel of the step two before has ended."""
    timeline = evidence.timeline
    resolves, _, there, _ = _relays(timeline)
    for step, copies in there.items():
        for row in resolves.get(step - STAGING, ())[:1]:
            if _span(timeline, copies[0])[0] < _span(timeline, row)[1]:
                yield f"{told(timeline, copies[0])} overwrites what {told(timeline, row)} still reads", (copies[0], row)


@RELAYS.state(
    "slots-written-first",
    forbids="a step that resolves its tokens before the step ahead of it has stored its own",
    why="the FutureMap passes tokens from step to step on the device alone: too early is the token of another request",
)
def slots_written_first(evidence: Evidence) -> Found:
    """A step's resolve kernel starts after the store kernel of the step before has ended."""
    timeline = evidence.timeline
    resolves, stores, _, _ = _relays(timeline)
    for step, row in resolves.items():
        for store in stores.get(step - 1, ())[-1:]:
            if step - 1 in resolves and _span(timeline, row[0])[0] < _span(timeline, store)[1]:
                yield f"{told(timeline, row[0])} starts before {told(timeline, store)} has ended", (row[0], store)


def _relays(timeline: Timeline) -> tuple[Rows, Rows, Rows, Rows]:
    """The rows, by step, of kernels that resolve and that store tokens, and of copies to the device and back."""
    found: tuple[Rows, Rows, Rows, Rows] = ({}, {}, {}, {})
    parts = ("resolve", "store", "HtoD", "DtoH")
    of = [next((i for i, part in enumerate(parts) if part in name), None) for name in timeline.names]
    for row in np.flatnonzero(timeline.on_device).tolist():
        name, step = timeline.table[row, [4, 6]].tolist()
        part = of[name]
        if part is not None and step >= 0:
            found[part].setdefault(step, []).append(row)
    return found


def _span(timeline: Timeline, row: int) -> tuple[int, int]:
    start, end = timeline.table[row, 1:3].tolist()
    return start, end
