"""Closed batches that differ in contexts and speeds alone, simulated side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from sim.effects import Phase
from sim.fast.refusal import OutsideError
from sim.fast.replicas import Replicas
from sim.program.calls import ManyHosts
from sim.program.frame import Frame
from sim.program.lowering import Framing
from sim.program.ops import Copy, Kernel, Op
from sim.serving.batch import Phase as BatchPhase
from sim.serving.request import Request
from sim.serving.source import RequestSource
from sim.studies.serving import ServingRun
from sim.timeline.metrics import StepPace, pace_of
from sim.timeline.spans import Column

AHEAD = 64
"""Steps that are priced at once."""


class SideBySide:
    """Several runs at once, of whose scenarios only contexts, seeds, kernels.scale, host.scale and host.extra differ.

    Raises ``OutsideError`` where the runs, or the loops of a mode, do not take the same decisions at any speed.
    """

    def __init__(self, runs: Sequence[ServingRun]) -> None:
        self._first = runs[0]
        requests = [_requests(run) for run in runs]
        if len({tuple((r.max_tokens, r.computed) for r in column) for column in requests}) > 1:
            raise OutsideError("outputs that differ")
        self._requests = requests[0]
        costs = self._first.costs()
        scale: Any = np.array([run.scale for run in runs])
        extra: Any = np.array([run.scenario.host.extra for run in runs], dtype=np.int64)
        self._costs = ManyHosts(
            costs.constants, costs.framework, costs.framework_default, costs.work, scale, extra
        )  # fmt: skip
        self._tariff = _Tariff(runs, np.array([[r.context for r in column] for column in requests], dtype=np.int64).T)

    def paces(self, mode: str) -> list[StepPace]:
        """The pace of each run in one mode."""
        first = self._first
        threads = first.threads(mode, first.server(mode))
        if len(threads) != 1:
            raise OutsideError("several host threads")
        (loop,) = threads.values()
        machine = Replicas(self._costs, self._tariff, first.warm())
        passed = machine.run(loop, RequestSource(self._requests))
        none = np.zeros(len(passed.steps), dtype=np.bool_)
        return [pace_of(times, passed.steps, passed.rows, passed.tokens, none) for times in passed.times.T]


def _requests(run: ServingRun) -> tuple[Request, ...]:
    """The requests of a batch that is there from the start and ends by length, however fast it runs."""
    workload, host = run.scenario.workload, run.scenario.host
    if workload.batch is None or workload.stop_share or host.jitter:
        raise OutsideError("a workload with draws or arrivals")
    if run.largest_batch < workload.batch:
        raise OutsideError("requests that wait for room")
    return run.requests().take(0)


class _Tariff:
    """Prices a decode phase in all runs, many steps at a time; ``contexts`` are requests by runs."""

    def __init__(self, runs: Sequence[ServingRun], contexts: Column) -> None:
        by_scale: dict[float, list[int]] = defaultdict(list)
        for number, run in enumerate(runs):
            by_scale[run.scenario.kernels.scale].append(number)
        self._groups: list[tuple[Framing, list[int]]] = []
        for numbers in by_scale.values():
            lowering = runs[numbers[0]].lowering()
            if not isinstance(lowering, Framing):
                raise OutsideError("a model without frames")
            self._groups.append((lowering, numbers))
        self._more = contexts - contexts[:, :1]
        self._priced: dict[object, tuple[tuple[Request, ...], int, Frame, Column]] = {}

    def __call__(self, phase: Phase) -> tuple[Frame, Column]:
        """The frame, and what its operations take in each run."""
        batch = phase.batch
        if batch.phase is not BatchPhase.DECODE:
            raise OutsideError("prompts")
        key = phase.parts, batch.bucket, id(batch.members)
        known = self._priced.get(key)
        if known is None or not 0 <= (step := (batch.decode_context - known[1]) // batch.rows) < AHEAD:
            known, step = (batch.members, batch.decode_context, *self._ahead(phase)), 0
            self._priced[key] = known
        _, _, frame, times = known
        return frame, times[:, step]

    def _ahead(self, phase: Phase) -> tuple[Frame, Column]:
        """Prices of this step and those that follow, operations by steps by runs."""
        batch = phase.batch
        frame, ns = self._groups[0][0].framed(phase)
        more = self._more[[r.id for r in batch.members]].sum(axis=0)
        contexts = batch.decode_context + batch.rows * np.arange(AHEAD)[:, np.newaxis] + more
        times = np.empty((len(ns), *contexts.shape), dtype=np.int64)
        for lowering, numbers in self._groups:
            mine = contexts[:, numbers]
            other, _ = lowering.framed(phase)
            if other.pieces != frame.pieces or list(map(_kind, other.ops)) != list(map(_kind, frame.ops)):
                raise OutsideError("steps of different operations")
            times[:, :, numbers] = lowering.over(phase, mine.ravel()).reshape(len(ns), *mine.shape)
        return frame, times


def _kind(op: Op) -> tuple[object, ...]:
    """What tells an operation's call from others, its time aside."""
    match op:
        case Kernel():
            return "kernel", op.name, op.call
        case Copy():
            return "copy", op.direction, op.pinned
        case _:
            return (op,)
