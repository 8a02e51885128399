"""Closed batches that differ in contexts and speeds alone, simulated side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scenarios.scenario import Serving
from sim.effects import Phase
from sim.fast.refusal import OutsideError
from sim.fast.replicas import Passed, Replicas
from sim.program.calls import ManyHosts
from sim.program.frame import Frame
from sim.program.lowering import Framing
from sim.program.ops import Copy, Kernel, Op
from sim.serving.batch import Phase as BatchPhase
from sim.serving.request import Request
from sim.serving.source import RequestSource
from sim.studies.serving import ServingRun
from sim.timeline.metrics import steady_rows
from sim.timeline.spans import Column

AHEAD = 64
"""Steps that are priced at once."""

Put = Callable[[npt.NDArray[Any]], Any]
"""Takes a column to the array library, and the device, that shall compute with it."""
Get = Callable[[Any], npt.NDArray[Any]]
"""Takes it back."""


def _as_it_is(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return column


@dataclass(frozen=True, slots=True)
class Arrays:
    """What computes with columns: NumPy, unless something else takes and returns them; ``most`` points at once."""

    put: Put = _as_it_is
    get: Get = _as_it_is
    most: int = 4096


@dataclass(frozen=True, eq=False, slots=True)
class Paces:
    """The mean interval between deliveries (ns) and the throughput of each run."""

    step_ns: npt.NDArray[np.float64]
    tokens_per_s: npt.NDArray[np.float64]


class SideBySide:
    """Points that take the same decisions at any speed: ``which`` of some runs each is, on which host.

    The runs differ in their workloads' contexts, their seeds and ``kernels.scale`` alone; ``scale`` and ``extra`` are
    the points' ``host.scale`` and ``host.extra``. Raises ``OutsideError`` where the runs, or the loops of a mode, may
    decide differently.
    """

    def __init__(
        self, runs: Sequence[ServingRun], which: Sequence[int], scale: Sequence[float], extra: Sequence[int],
        arrays: Arrays | None = None,
    ) -> None:  # fmt: skip
        self._first = runs[0]
        self._arrays = arrays or Arrays()
        room = self._first.smallest_cache
        requests = [_requests(run, room) for run in runs]
        if len({tuple((r.max_tokens, r.computed) for r in column) for column in requests}) > 1:
            raise OutsideError("outputs that differ")
        self._requests = requests[0]
        costs, put = self._first.costs(), self._arrays.put
        self._costs = ManyHosts(
            costs.constants, costs.framework, costs.framework_default, costs.work, costs.prompts,
            scale=put(np.array(scale, dtype=np.float64)), extra=put(np.array(extra, dtype=np.int64)),
        )  # fmt: skip
        contexts = np.array([[r.context for r in column] for column in requests], dtype=np.int64).T
        self._tariff = _Tariff(runs, contexts, np.array(which), put)

    def paces(self, mode: str) -> Paces:
        """The pace of each point in one mode."""
        first = self._first
        threads = first.threads(mode, first.server(mode))
        if len(threads) != 1:
            raise OutsideError("several host threads")
        (loop,) = threads.values()
        return self._measured(
            Replicas(self._costs, self._tariff, first.warm()).run(loop, RequestSource(self._requests))
        )

    def _measured(self, passed: Passed) -> Paces:
        """What ``pace_of`` says of each, in columns."""
        count, total, get = len(passed.times), int(passed.tokens.sum()), self._arrays.get
        last = get(passed.times[-1])
        full = steady_rows(passed.rows, np.zeros(count, dtype=np.bool_))
        whole, steps = last.copy(), np.full(len(last), count)
        if len(full):
            times = np.stack([get(passed.times[i]) for i in full[3:-1].tolist()])
            ends = times[:-1] != times[1:]  # deliveries at one instant are one round
            first, final = ends.argmax(axis=0), len(ends) - 1 - ends[::-1].argmax(axis=0)
            steady, run = ends.any(axis=0) & (final > first), np.arange(len(last))
            whole[steady] = (times[final, run] - times[first, run])[steady]
            steps[steady] = (final - first)[steady]
        return Paces(whole / steps, total * 1e9 / np.maximum(1, last))


def refusal(scenario: Serving) -> str:
    """Why points of a scenario cannot be simulated side by side, as far as it says itself; empty if they may be."""
    workload = scenario.workload
    if workload.batch is None:
        return "requests that arrive"
    if workload.stop_share:
        return "outputs that end by a draw"
    return "a host with jitter" if scenario.host.jitter else ""


def _requests(run: ServingRun, room: int) -> tuple[Request, ...]:
    """The requests of a batch that is there from the start and ends by length, however fast it runs."""
    if why := refusal(run.scenario):
        raise OutsideError(why)
    if run.largest_of(room) < (run.scenario.workload.batch or 0):
        raise OutsideError("requests that wait for room")
    return run.requests().take(0)


class _Tariff:
    """Prices a decode phase in all runs, many steps at a time; ``contexts`` are requests by runs.

    A duration that all runs share at all steps is one number, which costs no column.
    """

    def __init__(self, runs: Sequence[ServingRun], contexts: Column, which: Column, put: Put) -> None:
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
        self._put = put
        self._which = put(which)
        self._priced: dict[object, _Ahead] = {}

    def __call__(self, phase: Phase) -> tuple[Frame, Sequence[Any], frozenset[int]]:
        """The frame, what its operations take in each run, and which of them change from step to step."""
        batch = phase.batch
        if batch.phase is not BatchPhase.DECODE:
            raise OutsideError("prompts")
        key = phase.parts, batch.bucket, id(batch.members)
        known = self._priced.get(key)
        if known is None or not 0 <= (step := (batch.decode_context - known.context) // batch.rows) < AHEAD:
            known, step = self._ahead(phase), 0
            self._priced[key] = known
        ns = list(known.still)
        for i, by_step in known.changing.items():
            ns[i] = by_step[step][self._which]
        return known.frame, ns, frozenset(known.changing)

    def _ahead(self, phase: Phase) -> _Ahead:
        """Prices of this step and those that follow."""
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
        still: list[Any] = []
        changing: dict[int, Any] = {}
        for i, by_step in enumerate(times):
            if (by_step == by_step[0, 0]).all():
                still.append(int(by_step[0, 0]))
            elif (by_step == by_step[0]).all():
                still.append(self._put(by_step[0])[self._which])
            else:
                still.append(None)
                changing[i] = self._put(by_step)
        return _Ahead(batch.members, batch.decode_context, frame, still, changing)


@dataclass(frozen=True, eq=False, slots=True)
class _Ahead:
    """Prices from one context on: those that are ``still`` at all steps, and by step those that are ``changing``."""

    members: tuple[Request, ...]
    context: int
    frame: Frame
    still: list[Any]
    changing: dict[int, Any]


def _kind(op: Op) -> tuple[object, ...]:
    """What tells an operation's call from others, its time aside."""
    match op:
        case Kernel():
            return "kernel", op.name, op.call
        case Copy():
            return "copy", op.direction, op.pinned
        case _:
            return (op,)
