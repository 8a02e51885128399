"""A step's calls, compiled once for all steps that share its frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sim.fast.segments import (
    Chain,
    CopyCall,
    Filled,
    KernelCall,
    RecordCall,
    Refused,
    Segment,
    Thought,
    Train,
    WaitCall,
)
from sim.program.calls import HostCosts
from sim.program.frame import Body, Frame, Item
from sim.program.ops import Copy, Kernel, Op, Record, Replay, Think, WaitEvent
from sim.timeline.spans import Column, Recorder

SHORT = 4
"""Fewer kernels than these are launched faster one by one than as arrays."""

Plan = tuple[tuple[str, tuple[Segment, ...]], ...]
"""Streams and the calls on each, in order."""


class Planner:
    """Compiles frames, which it remembers, and lists of operations."""

    def __init__(self, costs: HostCosts, recorder: Recorder) -> None:
        self._costs = costs
        self._recorder = recorder
        self._framed: dict[Frame, Plan] = {}

    def of_frame(self, frame: Frame) -> Plan:
        """The plan of a frame."""
        plan = self._framed.get(frame)
        if plan is None:
            plan = self._framed[frame] = self._compiled(frame)
        return plan

    def of_ops(self, stream: str, ops: Sequence[Op]) -> tuple[Plan, Filled]:
        """The plan of a list of operations, and their durations."""
        inside = {id(k): k for op in ops if isinstance(op, Replay) for k in op.graph.kernels}
        distinct = [*ops, *inside.values()]
        plan = self._compiled(Frame.of([(stream, ops)], distinct))
        return plan, Filled([getattr(op, "ns", 0) for op in distinct])

    def _compiled(self, frame: Frame) -> Plan:
        return tuple((stream, tuple(self._segments(items, frame.ops))) for stream, items in frame.pieces)

    def _segments(self, items: Sequence[Item], ops: Sequence[Op]) -> Iterator[Segment]:
        run: list[int] = []
        for item in items:
            if isinstance(item, int) and isinstance(ops[item], Kernel):
                run.append(item)
                continue
            yield from self._train(run, ops)
            run = []
            if isinstance(item, Body):
                yield self._chain(item, ops)
            elif isinstance(item, int):
                yield self._call(ops[item], item)
            else:
                yield self._call(item, None)
        yield from self._train(run, ops)

    def _train(self, run: list[int], ops: Sequence[Op]) -> Iterator[Segment]:
        calls = [self._costs.call(ops[i]) for i in run]
        if len(run) < SHORT:
            yield from (KernelCall(i, ops[i], call) for i, call in zip(run, calls, strict=True))  # type: ignore[arg-type]
            return
        yield Train(np.array(run), self._names(run, ops), tuple(calls))

    def _chain(self, body: Body, ops: Sequence[Op]) -> Segment:
        (replay,) = Frame((("", (body,)),), tuple(ops)).filled(ops)[0][1]
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

    def _call(self, op: Op, at: int | None) -> Segment:
        match op:
            case Record():
                return RecordCall(op.event, op.timed, self._costs.call(op))
            case WaitEvent():
                return WaitCall(op.event, self._costs.call(op))
            case Think():
                return Thought(self._costs.call(op))
            case Copy():
                assert at is not None
                return CopyCall(at, op, self._costs.call(op))
            case Replay():
                return Refused("graphs with branches")
            case _:
                return Refused("collectives")

    def _names(self, run: Sequence[int], ops: Sequence[Op]) -> Column:
        kernels = [op for op in (ops[i] for i in run) if isinstance(op, Kernel)]
        return np.array([self._recorder.name(kernel.name) for kernel in kernels])
