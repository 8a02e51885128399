"""The reference machine: host threads and devices on one virtual clock."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from simpy import Event, Store

from sim.effects import Loop, Source, Step
from sim.machine.clock import Clock
from sim.machine.device import Device, Meeting
from sim.machine.gil import Gil
from sim.machine.host import HostThread
from sim.program.calls import HostCosts
from sim.program.jitter import Jitter, median
from sim.program.lowering import Lowering, no_lowering
from sim.serving.batch import Batch, Outputs
from sim.serving.source import NoRequests
from sim.timeline.spans import Recorder, Timeline


class Machine:
    """Runs loops against a model of the host and the device, all times integer nanoseconds.

    ``lower`` turns a batch's phase into operations, stream by stream. ``quantiles`` spread host times around their
    medians, by ``seed``; without them every host time is its median. Host threads of one rank share an interpreter
    lock; a single one never feels it. The same inputs give the same timeline to the byte.
    """

    def __init__(
        self,
        costs: HostCosts,
        lower: Lowering = no_lowering,
        *,
        quantiles: Sequence[tuple[float, float]] | None = None,
        seed: int = 0,
    ) -> None:
        self.costs = costs
        self.lower = lower
        self.recorder = Recorder()
        self.clock = Clock()
        self.source: Source = NoRequests()
        self._quantiles = quantiles
        self._seed = seed
        self._gils: dict[int, Gil] = {}
        self._queues: dict[str, Store] = {}
        self._meetings: dict[Hashable, Meeting] = {}
        self._steps = 0
        self._reaction: Event | None = None
        self.alone = True

    def run(
        self,
        threads: Mapping[str, Loop[Any]],
        source: Source | None = None,
        ranks: Mapping[str, int] | None = None,
        warm: Iterable[Hashable] = (),
    ) -> Timeline:
        """Run all threads to their end and return what happened; a machine runs once.

        ``ranks`` places threads on devices (0 unless given); threads of one rank are one process. ``warm`` names
        executable graphs that have been launched before, so that no launch of them is a first one. Raises
        ``RuntimeError`` when threads wait for each other for ever, or a collective for a rank.
        """
        ranks = ranks or {}
        warm = set(warm)
        self.source = source or NoRequests()
        self.alone = len(threads) == 1
        devices: dict[int, Device] = {}
        processes = []
        for number, (name, loop) in enumerate(threads.items()):
            rank = ranks.get(name, 0)
            first = rank not in devices
            if first:
                devices[rank] = Device(self.clock, self.costs.constants, self.recorder, self._meetings, rank)
                devices[rank].launched |= warm
            shared = sum(ranks.get(other, 0) == rank for other in threads) > 1
            gil = self._gil(rank) if shared else None
            draw = Jitter(self._quantiles, self._seed, number) if self._quantiles else median
            extra = 0 if first else self.costs.scaled(self.costs.constants.other_thread_call)
            thread = HostThread(self, name, devices[rank], draw, gil, extra)
            processes.append((name, self.clock.process(thread.run(loop))))
        self.clock.run()
        stuck = [name for name, process in processes if process.is_alive]
        if stuck:
            raise RuntimeError(f"host threads wait for ever: {', '.join(stuck)}")
        if self._meetings:
            raise RuntimeError(f"collectives that a rank never entered: {', '.join(map(str, self._meetings))}")
        return self.recorder.timeline()

    def _gil(self, rank: int) -> Gil:
        return self._gils.setdefault(rank, Gil(self.clock, self.costs.constants))

    def queue(self, name: str) -> Store:
        """A queue between host threads, made on first use."""
        return self._queues.setdefault(name, Store(self.clock))

    def emit(self, outputs: Outputs) -> None:
        """Outputs reach the clients now, who may send their next requests."""
        self.recorder.emit(outputs, self.clock.now)
        self.source.react(outputs, self.clock.now)
        if self._reaction is not None:
            self._reaction.succeed()
            self._reaction = None

    def reaction(self) -> Event:
        """An event that fires when clients have next seen outputs."""
        if self._reaction is None:
            self._reaction = self.clock.event()
        return self._reaction

    def new_step(self, batch: Batch | None) -> Step:
        """A handle for a launch: batches keep their own number, other launches count up."""
        number = self._steps if batch is None else batch.index
        self._steps += 1
        return Step(number, batch)
