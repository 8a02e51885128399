"""The fast machine: the reference's model in program order, without an event queue."""

from __future__ import annotations

import gc
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sim.effects import Loop, Source
from sim.fast.caller import Caller
from sim.fast.cycle import Cycle
from sim.fast.device import Device
from sim.fast.host import HostThread
from sim.fast.refusal import OutsideError
from sim.fast.spans import SpanWriter
from sim.program.calls import HostCosts
from sim.program.jitter import Jitter
from sim.program.lowering import Lowering, no_lowering
from sim.serving.source import NoRequests
from sim.timeline.spans import Place, Recorder, Timeline


@contextmanager
def _unswept() -> Iterator[None]:
    """No search for garbage in cycles: a run leaves next to none, and keeps much that would be searched each time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class FastMachine:
    """Runs a loop against the same model of host and device as ``sim.machine``, to the same nanosecond.

    Streams are first in, first out, and one host thread feeds them: then every time follows from earlier calls, as
    sums and maxima, and no event queue is needed. A train of launches is one prefix scan, a graph one sum. What
    depends on the order of events is refused with ``OutsideError``: kernels of two streams at once, copies that race
    for an engine, several host threads, collectives, graphs with branches. Without ``spans`` the timeline holds
    deliveries and served requests only.
    """

    def __init__(
        self,
        costs: HostCosts,
        lower: Lowering = no_lowering,
        *,
        quantiles: Sequence[tuple[float, float]] | None = None,
        seed: int = 0,
        spans: bool = True,
    ) -> None:
        self._costs = costs
        self._lower = lower
        self._quantiles = quantiles
        self._seed = seed
        self._spans = spans

    def run(
        self,
        threads: Mapping[str, Loop[Any]],
        source: Source | None = None,
        ranks: Mapping[str, int] | None = None,
        warm: Iterable[Hashable] = (),
    ) -> Timeline:
        """Run the thread to its end and return what happened; arguments and errors are the reference machine's.

        Raises ``OutsideError`` as soon as something is asked for that is outside of its theorem.
        """
        recorder, host, loop = self._host(threads, source, ranks or {}, warm)
        with _unswept():
            host.run(loop)
        return recorder.timeline(machine="fast")

    def cycle(
        self, threads: Mapping[str, Loop[Any]], source: Source | None = None, warm: Iterable[Hashable] = ()
    ) -> Cycle | None:
        """The cycle time of the last step of a run that repeats the one before, None when none does."""
        _, host, loop = self._host(threads, source, {}, warm)
        host.watching = True
        with _unswept():
            host.run(loop)
        return host.cycle

    def _host(
        self,
        threads: Mapping[str, Loop[Any]],
        source: Source | None,
        ranks: Mapping[str, int],
        warm: Iterable[Hashable],
    ) -> tuple[Recorder, HostThread, Loop[Any]]:
        if len(threads) != 1:
            raise OutsideError("several host threads")
        ((name, loop),) = threads.items()
        recorder = Recorder()
        spans = SpanWriter(recorder, recorder.track(name, Place.HOST_THREAD, ranks.get(name, 0)), kept=self._spans)
        device = Device(self._costs.constants, recorder, warm)
        jitter = Jitter(self._quantiles, self._seed, 0) if self._quantiles else None
        caller = Caller(self._costs, device, spans, jitter)
        return recorder, HostThread(caller, self._lower, source or NoRequests()), loop
