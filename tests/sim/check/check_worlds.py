"""Small runs to check, and hands that break them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sim.check.invariant import Evidence
from sim.effects import DEVICE, Launch, Loop, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Copy, Graph, Kernel, Record, Replay, WaitEvent
from sim.timeline.spans import FIELDS, Delivery, Served, Spans, Timeline

CONSTANTS = Constants(
    launch_call=5, graph_launch_call=7, copy_call=3, launch_latency=4, stream_gap=2, graph_gap=1, queue_depth=3
)


def two_streams() -> Evidence:
    """Six kernels and a graph on one stream, a copy and a kernel behind an event on another."""

    def loop() -> Loop[None]:
        yield Launch([Kernel("k", "bare", 20) for _ in range(6)], "main")
        yield Launch([Replay("g", Graph((Kernel("a", "bare", 9), Kernel("b", "bare", 9)))), Record("e")], "main")
        yield Launch([Copy("d2h", 6), WaitEvent("e"), Kernel("side", "bare", 5)], "side")
        yield Wait(DEVICE)

    return Evidence(Machine(HostCosts(CONSTANTS)).run({"host": loop()}), CONSTANTS)


def delivered(timeline: Timeline) -> Timeline:
    """The same with two steps delivered after it, of two requests."""
    end = int(timeline.column("end").max())
    return replace(
        timeline,
        deliveries=(Delivery(end, 8, 2, 2, prefill=True), Delivery(end + 9, 9, 2, 1, prefill=False)),
        served=(Served(0, 0, end, end + 9, 2, "length"), Served(1, 3, end, end, 1, "stop")),
    )


def changed(evidence: Evidence, row: int, **values: int) -> Evidence:
    """One row with other values; the table is sorted again."""
    table = evidence.timeline.table.copy()
    for name, value in values.items():
        table[row, FIELDS.index(name)] = value
    return with_table(evidence, table)


def without(evidence: Evidence, row: int) -> Evidence:
    """The same without one row."""
    return with_table(evidence, np.delete(evidence.timeline.table, row, axis=0))


def with_table(evidence: Evidence, table: np.ndarray) -> Evidence:
    """The same with other rows."""
    table = table[np.argsort(table[:, 1], kind="stable")]
    return replace(evidence, timeline=replace(evidence.timeline, spans=Spans.of(evidence.timeline.names, table)))


def find(evidence: Evidence, name: str, number: int = 0, where: Callable[[int], bool] = lambda _: True) -> int:
    """The row of the span of this name that comes so many after the first."""
    names = evidence.timeline.span_names(evidence.timeline.table)
    return [row for row, text in enumerate(names) if text == name and where(row)][number]
