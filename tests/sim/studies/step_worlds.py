"""Closed batches of constant kernels on a machine whose every cost is known: the world of the period laws."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim.effects import Phase
from sim.loops import overlap_loop, serial_loop
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.lowering import FORWARD
from sim.program.ops import STEP, Graph, Kernel, Op, Record, Replay
from sim.serving.buckets import Buckets
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server
from sim.serving.source import RequestSource
from sim.timeline.spans import Timeline

STEPS = 30
ROWS = 2


@dataclass(frozen=True)
class World:
    """Costs in nanoseconds. ``slots`` is what resolve and store take each, None when they are free.

    ``launch`` is the call of a kernel or of a graph and ``latency`` from its return to the start on an idle device;
    ``gap`` lies between entries of a backlogged stream and between two graphs, ``graph_gap`` inside a graph.
    """

    body: tuple[int, ...] = (100,)
    slots: int | None = None
    receive: int = 0
    schedule: int = 0
    prepare: int = 0
    process: int = 0
    launch: int = 0
    record: int = 0
    sync: int = 0
    wake: int = 0
    latency: int = 0
    gap: int = 0
    graph_gap: int = 0
    graph: bool = False

    def num_calls(self, *, overlap: bool) -> int:
        """Launches of a step."""
        return (1 if self.graph else len(self.body)) + (2 if overlap and self.slots is not None else 0)

    @property
    def before(self) -> int:
        """Host time of a step before its first launch."""
        return self.receive + self.schedule + self.prepare

    @property
    def inside(self) -> int:
        """Device time of the forward pass from its first start to its last end, without a host that delays it."""
        return sum(self.body) + (self.graph_gap if self.graph else self.gap) * (len(self.body) - 1)

    @property
    def device(self) -> int:
        """G: from the end of one step to the end of the next on a device with a backlog, gaps and slots included."""
        return self.gap + self.inside + (0 if self.slots is None else 2 * (self.slots + self.gap))

    @property
    def host(self) -> int:
        """C: host time of an overlap step whose wait finds its step done, and so costs its call."""
        calls = self.launch * self.num_calls(overlap=True) + self.record
        return self.before + calls + self.sync + self.process

    def run(self, *, overlap: bool) -> Timeline:
        """A closed batch of ``STEPS`` tokens a row."""
        constants = Constants(
            launch_call=self.launch, graph_launch_call=self.launch, event_record_call=self.record,
            event_sync_call=self.sync, wake_spin=self.wake, launch_latency=self.latency,
            graph_launch_latency=self.latency, stream_gap=self.gap, replay_gap=self.gap, graph_gap=self.graph_gap,
        )  # fmt: skip
        work = {
            "receive": (self.receive, 0, 0), "schedule": (self.schedule, 0, 0), "prepare": (self.prepare, 0, 0),
            "process": (self.process, 0, 0),
        }  # fmt: skip
        server = Server(Scheduler(KVCache(64), max_rows=ROWS), Buckets([ROWS]) if self.graph else None)
        loop = (overlap_loop if overlap else serial_loop)(server)
        source = RequestSource([Request(i, 1, STEPS, computed=True) for i in range(ROWS)])
        return Machine(HostCosts(constants, work=work), self.lower).run({"scheduler": loop}, source)

    def lower(self, phase: Phase) -> list[tuple[str, list[Op]]]:
        """A phase's operations, all on one stream."""
        body = tuple(Kernel("forward", "bare", ns) for ns in self.body)
        ops: list[Op] = [Replay("decode", Graph(body))] if phase.batch.bucket else [*body]
        if "resolve" in phase.parts and self.slots is not None:
            ops = [Kernel("resolve", "bare", self.slots), *ops, Kernel("store", "bare", self.slots)]
        return [(FORWARD, [*ops, Record(STEP)])]

    def with_device(self, target: int) -> World:
        """The same world, its first kernel as long as makes ``device`` equal to ``target``."""
        first, *others = self.body
        return replace(self, body=(target - self.device + first, *others))
