"""A step's calls, compiled once for all steps that share its frame."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sim.program.calls import Call, HostCosts
from sim.program.frame import Body, Frame, Item
from sim.program.ops import Kernel, Op, Replay
from sim.timeline.spans import Column, Recorder

SHORT = 4
"""Fewer kernels than these are launched faster one by one than as arrays."""
REMEMBERED = 1024
"""Lists of operations of a program whose plans are kept."""


@dataclass(frozen=True, eq=False, slots=True)
class Train:
    """Kernels launched one after the other: positions of their durations, names, and what each call costs."""

    at: Column
    names: Column
    held: Column
    api: Column
    returns: Column
    """Of each call after the first one's beginning, on a host without jitter."""


@dataclass(frozen=True, eq=False, slots=True)
class Chain:
    """A replay of a graph: positions of its kernels' durations and their names; ``counts`` says how often each."""

    executable: Hashable
    call: Call
    first: int
    at: Column
    names: Column
    counts: tuple[tuple[int, int], ...]


Segment = Train | Chain | int | Op


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """Streams and what is enqueued in each; positions are those of the operations that fill the frame."""

    pieces: tuple[tuple[str, tuple[Segment, ...]], ...]


class Filled:
    """A plan with one step's operations."""

    __slots__ = ("_ns", "ops", "plan")

    def __init__(self, plan: Plan, ops: Sequence[Op]) -> None:
        self.plan = plan
        self.ops = ops
        self._ns: Column | None = None

    @property
    def ns(self) -> Column:
        """Nanoseconds of each kernel, 0 for operations that have none."""
        if self._ns is None:
            self._ns = np.array([getattr(op, "ns", 0) for op in self.ops], dtype=np.int64)
        return self._ns


class Planner:
    """Compiles frames and remembers them; programs that launch the same operations again are remembered too."""

    def __init__(self, costs: HostCosts, recorder: Recorder) -> None:
        self._costs = costs
        self._recorder = recorder
        self._framed: dict[Frame, Plan] = {}
        self._launched: dict[tuple[str, int, int], tuple[list[Op], Filled]] = {}

    def of_frame(self, frame: Frame, ops: Sequence[Op]) -> Filled:
        """The plan of a frame with the operations that fill it."""
        plan = self._framed.get(frame)
        if plan is None:
            plan = self._framed[frame] = self._compiled(frame, ops)
        return Filled(plan, ops)

    def of_ops(self, stream: str, ops: Sequence[Op]) -> Filled:
        """The plan of operations of a program."""
        key = stream, len(ops), id(ops[0]) if ops else 0
        known = self._launched.get(key)
        listed = list(ops)
        if known is None or known[0] != listed:
            inside = {id(k): k for op in listed if isinstance(op, Replay) for k in op.graph.kernels}
            distinct = [*listed, *inside.values()]
            plan = self._compiled(Frame.of([(stream, listed)], distinct), distinct)
            if len(self._launched) >= REMEMBERED:
                self._launched.clear()
            known = self._launched[key] = listed, Filled(plan, distinct)
        return known[1]

    def _compiled(self, frame: Frame, ops: Sequence[Op]) -> Plan:
        return Plan(tuple((stream, tuple(self._segments(items, ops))) for stream, items in frame.pieces))

    def _segments(self, items: Sequence[Item], ops: Sequence[Op]) -> list[Segment]:
        found: list[Segment] = []
        run: list[int] = []
        for item in items:
            if isinstance(item, int) and isinstance(ops[item], Kernel):
                run.append(item)
                continue
            found += self._train(run, ops)
            run = []
            found.append(self._chain(item, ops) if isinstance(item, Body) else item)
        return [*found, *self._train(run, ops)]

    def _train(self, run: list[int], ops: Sequence[Op]) -> Sequence[Segment]:
        if len(run) < SHORT:
            return run
        calls = [self._costs.call(ops[i]) for i in run]
        held, api = np.array([c.held for c in calls]), np.array([c.api for c in calls])
        return [Train(np.array(run), self._names(run, ops), held, api, np.cumsum(held + api))]

    def _chain(self, body: Body, ops: Sequence[Op]) -> Chain:
        (replay,) = Frame((("", (body,)),)).filled(ops)[0][1]
        assert isinstance(replay, Replay)
        at, counts = np.unique(body.kernels, return_counts=True)
        return Chain(
            body.executable,
            self._costs.call(replay),
            self._costs.first_replay(replay),
            np.array(body.kernels),
            self._names(body.kernels, ops),
            tuple(zip(at.tolist(), counts.tolist(), strict=True)),
        )

    def _names(self, run: Sequence[int], ops: Sequence[Op]) -> Column:
        numbers = []
        for i in run:
            op = ops[i]
            assert isinstance(op, Kernel)
            numbers.append(self._recorder.name(op.name))
        return np.array(numbers)
