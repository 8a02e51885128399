"""One replay of a graph while it runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sim.machine.sharing import Execution
from sim.program.ops import Collective, Graph
from sim.timeline.spans import Kind

if TYPE_CHECKING:
    from simpy import Event

    from sim.machine.device import Executable
    from sim.machine.stream import Stream


class GraphRun:
    """Starts each kernel of a graph when those it waits for are done; no host thread and no launch queue is involved.

    The first kernel is run by the stream, which knows when the graph may start. Other kernels without dependencies
    start with it. A kernel that waits for several starts ``graph_join_gap`` after the last of them, one that waits for
    a single kernel ``graph_gap`` after it. A collective waits inside for the other ranks', as one of a stream does.
    """

    __slots__ = (
        "_correlation", "_executable", "_gaps", "_kernels", "_missing", "_next", "_open", "_planned", "_step",
        "_stream", "_version", "forks",
    )  # fmt: skip

    def __init__(self, stream: Stream, graph: Graph, executable: Executable, correlation: int, step: int) -> None:
        self._stream = stream
        self._kernels = graph.kernels
        self._executable = executable
        self._correlation = correlation
        self._step = step
        self._open = len(graph.kernels)
        self._version = 0
        self._planned: tuple[int, int, int] | None = None
        self._missing: list[int] | None = None
        self._next: list[list[int]] = []
        self._gaps: list[int] = []
        self.forks = False
        if graph.after is not None:
            constants = stream.device.constants
            self._missing = [len(deps) for deps in graph.after]
            self._gaps = [constants.graph_join_gap if n > 1 else constants.graph_gap for n in self._missing]
            self.forks = self._missing.count(0) > 1
            self._next = [[] for _ in graph.kernels]
            for position, deps in enumerate(graph.after):
                for dep in deps:
                    self._next[dep].append(position)

    def started(self) -> None:
        """The first kernel starts now: so do the others that wait for nothing."""
        if self._missing is not None:
            for position in range(1, len(self._missing)):
                if not self._missing[position]:
                    self._share_now(position)

    def kernel_ended(self, position: int) -> None:
        """A kernel is done now: start what waited for it, or end the replay."""
        self._open -= 1
        if not self._open:
            self._finish()
        elif self._missing is None:
            self._chain(position + 1)
        else:
            clock = self._stream.device.clock
            for later in self._next[position]:
                self._missing[later] -= 1
                if not self._missing[later]:
                    clock.call_at(clock.now + self._gaps[later], partial(self._share_now, later))

    def _chain(self, position: int) -> None:
        device = self._stream.device
        start = device.clock.now + device.constants.graph_gap
        if isinstance(self._kernels[position], Collective):
            device.clock.call_at(start, partial(self._enter, position))
            return
        if device.contended:
            device.clock.call_at(start, partial(self._share_now, position))
            return
        end = start + self._kernels[position].ns
        self._planned = (position, start, end)
        self._version += 1
        device.clock.call_at(end, self._planned_end, self._version)

    def _enter(self, position: int, _event: Event) -> None:
        op, device = self._kernels[position], self._stream.device
        assert isinstance(op, Collective)
        spin = Execution(None, op.sm)
        device.sharing.add(spin)
        device.meeting(op).enter(partial(self._leave, position, device.clock.now, spin))

    def _leave(self, position: int, start: int, spin: Execution) -> None:
        device = self._stream.device
        device.sharing.end(spin)
        self._span(position, start, device.clock.now)
        self.kernel_ended(position)

    def _planned_end(self, event: Event) -> None:
        if event.value == self._version and self._planned is not None:
            (position, start, end), self._planned = self._planned, None
            self._span(position, start, end)
            self.kernel_ended(position)

    def contend(self) -> None:
        """Another stream has kernels now: the settled kernel has to share the device with them."""
        if self._planned is None:
            return
        (position, start, end), self._planned = self._planned, None
        self._version += 1
        clock = self._stream.device.clock
        if start > clock.now:
            clock.call_at(start, partial(self._share_now, position))
        else:
            self._share(position, end - clock.now, start)

    def _share_now(self, position: int, _event: Event | None = None) -> None:
        self._share(position, self._kernels[position].ns)

    def _share(self, position: int, left: int, began: int | None = None) -> None:
        running = Execution(left, self._kernels[position].sm, partial(self._shared_end, position), began=began)
        self._stream.device.sharing.add(running)

    def _shared_end(self, position: int, execution: Execution) -> None:
        assert execution.began is not None
        self._span(position, execution.began, self._stream.device.clock.now)
        self.kernel_ended(position)

    def _span(self, position: int, start: int, end: int) -> None:
        recorder = self._stream.device.recorder
        name = recorder.name(self._kernels[position].name)
        recorder.span(self._stream.track, start, end, Kind.KERNEL, name, self._correlation, self._step)

    def _finish(self) -> None:
        self._stream.graph = None
        self._executable.release(self._stream.device.clock.now)
        self._stream.entry_ended(self._stream.device.clock.now)
