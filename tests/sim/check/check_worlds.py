"""Small runs to check, and hands that break them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from scenarios.loader import load_scenario
from scenarios.scenario import Serving
from sim.check.invariant import Entry, Evidence
from sim.check.witness import Witness
from sim.effects import DEVICE, Launch, Loop, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Collective, Copy, Graph, Kernel, Record, Replay, WaitEvent
from sim.timeline.spans import FIELDS, Column, Delivery, Served, Spans, Timeline

CONSTANTS = Constants(
    launch_call=5, graph_launch_call=7, copy_call=3, launch_latency=4, stream_gap=2, graph_gap=1, queue_depth=3
)
COSTS = HostCosts(CONSTANTS)


def two_streams() -> Evidence:
    """Six kernels and a graph on one stream, a copy and a kernel behind an event on another, and a replay in vain."""

    def loop() -> Loop[None]:
        graph = Replay("g", Graph((Kernel("a", "bare", 9), Kernel("b", "bare", 9))))
        yield Launch([Kernel("k", "bare", 20) for _ in range(6)], "main")
        yield Launch([graph, Record("e")], "main")
        yield Launch([Copy("d2h", 30), WaitEvent("e"), Kernel("side", "bare", 5)], "side")
        yield Launch([Copy("d2h", 30), graph], "third")
        yield Wait(DEVICE)

    witness = Witness()
    return witness.evidence(Machine(COSTS).run({"host": witness.loop("host", loop())}), COSTS)


def one_stream() -> Evidence:
    """A kernel and a graph on one stream: nothing stretches them."""

    def loop() -> Loop[None]:
        yield Launch([Kernel("k", "bare", 20), Replay("g", Graph((Kernel("a", "bare", 9), Kernel("b", "bare", 7))))])
        yield Wait(DEVICE)

    witness = Witness()
    return witness.evidence(Machine(COSTS).run({"host": witness.loop("host", loop())}), COSTS)


def busy_threads() -> Evidence:
    """Two threads of one process that launch for 60 ns each under its lock, twice."""

    def loop(stream: str) -> Loop[None]:
        yield Launch([Kernel("k", "slow", 20) for _ in range(2)], stream)
        yield Wait(DEVICE)

    costs = HostCosts(CONSTANTS, {"slow": 45})
    witness = Witness()
    threads = {name: witness.loop(name, loop(name)) for name in ("one", "two")}
    return witness.evidence(Machine(costs).run(threads), costs)


def two_ranks() -> Evidence:
    """Two ranks meet in a collective, the second one late."""

    def loop(late: int) -> Loop[None]:
        yield Launch([Kernel("k", "bare", late), Collective("c", 2, 30)], "main")
        yield Wait(DEVICE)

    witness = Witness()
    threads = {f"rank {rank}": witness.loop(f"rank {rank}", loop(10 + 90 * rank)) for rank in range(2)}
    ranks = {"rank 0": 0, "rank 1": 1}
    return witness.evidence(Machine(COSTS).run(threads, ranks=ranks), COSTS)


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
    return with_rows(evidence, table, list(range(len(table))))


def without(evidence: Evidence, row: int) -> Evidence:
    """The same without one row."""
    table = evidence.timeline.table
    kept = [i for i in range(len(table)) if i != row]
    return with_rows(evidence, table[kept], kept)


def with_rows(evidence: Evidence, table: Column, numbers: list[int]) -> Evidence:
    """The same with these rows, which had these numbers before; entries go with them."""
    order = np.argsort(table[:, 1], kind="stable")
    now = {numbers[old]: new for new, old in enumerate(order.tolist())}
    moved: dict[int, Entry] = {}
    for entry in evidence.entries or ():
        spans = tuple(now[row] for row in entry.spans if row in now)
        waits = tuple(moved[id(earlier)] for earlier in entry.waits)
        moved[id(entry)] = replace(entry, call=now.get(entry.call, -1), spans=spans, waits=waits)
    timeline = replace(evidence.timeline, spans=Spans.of(evidence.timeline.names, table[order]))
    return replace(evidence, timeline=timeline, entries=tuple(moved.values()))


def find(evidence: Evidence, name: str, number: int = 0, where: Callable[[int], bool] = lambda _: True) -> int:
    """The row of the span of this name that comes so many after the first."""
    names = evidence.timeline.span_names(evidence.timeline.table)
    return [row for row, text in enumerate(names) if text == name and where(row)][number]


def few_steps(name: str) -> list[str]:
    """What makes a shipped scenario small: few requests of few tokens, by a model of few layers."""
    scenario = load_scenario(name).scenario
    if not isinstance(scenario, Serving):
        return []
    changes = ["workload.output_tokens=8", *(["workload.requests=4"] if scenario.workload.batch is None else [])]
    return [*changes, "model=tiny"] if isinstance(scenario.model, str) else changes
