"""From a program scenario's ops to effects, launched one by one or captured into graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from scenarios import ops as recipe
from scenarios.errors import Problem, ScenarioError
from sim.effects import DEVICE, Launch, Loop, Wait
from sim.program.ops import Copy, Graph, Kernel, Op, Record, Replay, Think, WaitEvent


class Maker(Protocol):
    """What a machine makes of a program's ops: operations with a price, or ones that can be executed."""

    def operation(self, op: recipe.Op) -> Op:
        """The operation of a stream that a scenario's op stands for."""

    def replay(self, name: str, body: Sequence[tuple[str, Op]], graph: Graph) -> Replay:
        """The launch of a captured graph; ``body`` lists what was captured, stream by stream in the order of calls."""

    def enter(self, stream: str) -> Think | None:
        """What a host thread does to have its next calls go to another stream; None where that takes nothing."""


class Capture:
    """Records what a graph's body would enqueue: its kernels, and for each the ones that it waits for.

    As in a captured stream, a kernel waits for the one before it in its stream and for what its stream's awaited
    events were recorded after. Pinned copies become nodes that hardly use the multiprocessors. The first operation's
    stream is captured from the start, another once it waits for an event of the capture. Raises ``ScenarioError`` where
    a capture would fail: for work on a stream that is not part of it, and for streams not joined at its end.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._origin: str | None = None
        self._captured: set[str] = set()
        self._kernels: list[Kernel] = []
        self._after: list[tuple[int, ...]] = []
        self._last: dict[str, frozenset[int]] = {}
        self._events: dict[object, frozenset[int]] = {}

    def add(self, stream: str, op: Op) -> None:
        """Record one operation of the body."""
        if self._origin is None:
            self._origin = stream
            self._captured.add(stream)
        if isinstance(op, WaitEvent) and op.event in self._events:
            self._captured.add(stream)
        if stream not in self._captured and not isinstance(op, WaitEvent):
            raise self._refusal(f"work on stream {stream!r} before it waits for an event recorded in the graph")
        before = self._last.get(stream, frozenset())
        match op:
            case Record():
                self._events[op.event] = before
            case WaitEvent():
                if op.event not in self._events:
                    raise self._refusal(f"waits for event {op.event!r}, which is not recorded in the graph before")
                self._last[stream] = before | self._events[op.event]
            case Copy():
                self._node(stream, Kernel(f"Memcpy {op.direction}", "copy", op.ns, 0.001))
            case Kernel():
                self._node(stream, op)
            case _:
                raise TypeError(f"{op!r} cannot be captured")

    def _node(self, stream: str, kernel: Kernel) -> None:
        self._after.append(tuple(sorted(self._last.get(stream, frozenset()))))
        self._kernels.append(kernel)
        self._last[stream] = frozenset([len(self._kernels) - 1])

    @property
    def origin(self) -> str:
        """The stream that is captured, and on which the graph is launched: the one of the first operation."""
        assert self._origin is not None
        return self._origin

    def graph(self) -> Graph:
        """The graph; a plain chain is stored as one."""
        if not self._kernels:
            raise self._refusal("no kernel and no copy to capture")
        joined, reached = set[int](), list(self._last.get(self.origin, ()))
        while reached:
            position = reached.pop()
            if position not in joined:
                joined.add(position)
                reached += self._after[position]
        if len(joined) < len(self._kernels):
            raise self._refusal(f"stream {self._origin!r} does not wait for all work of the others before the end")
        chain = all(deps == ((i - 1,) if i else ()) for i, deps in enumerate(self._after))
        return Graph(tuple(self._kernels), None if chain else tuple(self._after))

    def _refusal(self, message: str) -> ScenarioError:
        return ScenarioError([Problem(f"graph {self._name!r}", "", message)])


class Recipe:
    """Turns the ops of a program's thread into a loop. ``graphs`` captures graph blocks, else they run op by op."""

    def __init__(self, maker: Maker, *, graphs: bool) -> None:
        self._maker = maker
        self._graphs = graphs
        self._captured: set[str] = set()  # events recorded in graphs: nothing outside can wait for them

    def loop(self, ops: tuple[recipe.Op, ...]) -> Loop[None]:
        """A host thread that does ``ops`` and in the end waits for the device, unless it has just done so.

        It is in its first operation's stream from the start, and enters another one wherever it needs to.
        """
        train: list[Op] = []
        stream: str | None = None
        ends_waiting = False
        for effect in self._effects(ops):
            ends_waiting = isinstance(effect, Wait) and effect.on == DEVICE
            if train and (isinstance(effect, Wait) or effect[0] != stream):
                assert stream is not None
                yield Launch(train, stream)
                train = []
            if isinstance(effect, Wait):
                yield effect
                continue
            if stream not in (None, effect[0]) and (entering := self._maker.enter(effect[0])):
                train.append(entering)
            stream = effect[0]
            train.append(effect[1])
        if train:
            assert stream is not None
            yield Launch(train, stream)
        if not ends_waiting:
            yield Wait(DEVICE)

    def executables(self, ops: tuple[recipe.Op, ...]) -> Iterator[str]:
        """Names of the graphs that these ops launch."""
        return (op.name for _, op in recipe.walk(ops) if isinstance(op, recipe.Graph))

    def _effects(self, ops: tuple[recipe.Op, ...]) -> Iterator[Wait | tuple[str, Op]]:
        for op in ops:
            match op:
                case recipe.Repeat():
                    for _ in range(op.times):
                        yield from self._effects(op.ops)
                case recipe.Graph():
                    yield from self._block(op)
                case recipe.Sync():
                    self._refuse_captured(op.on)
                    yield Wait(op.on, op.how)
                case recipe.Think():
                    yield "main", Think(op.duration)
                case recipe.WaitEvent():
                    self._refuse_captured(op.event)
                    yield op.stream, self._maker.operation(op)
                case _:
                    yield op.stream, self._maker.operation(op)

    def _refuse_captured(self, event: str) -> None:
        if event in self._captured:
            message = "was recorded during a capture, so nothing outside of the graph can wait for it"
            raise ScenarioError([Problem(f"event {event!r}", "", message)])

    def _block(self, block: recipe.Graph) -> Iterator[Wait | tuple[str, Op]]:
        if not self._graphs:
            for _ in range(block.replays):
                yield from self._effects(block.ops)
            return
        capture = Capture(block.name)
        outside, self._captured = self._captured, set()
        body: list[tuple[str, Op]] = []
        for effect in self._effects(block.ops):
            assert not isinstance(effect, Wait)  # the schema keeps waits out of graphs
            capture.add(*effect)
            body.append(effect)
        replay = self._maker.replay(block.name, body, capture.graph())
        self._captured = outside | {op.event for _, op in recipe.walk(block.ops) if isinstance(op, recipe.Record)}
        for _ in range(block.replays):
            yield capture.origin, replay
