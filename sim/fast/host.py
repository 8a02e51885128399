"""The host thread of a fast machine: interprets a loop's effects, one after the other."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from sim.effects import DEVICE, Arrivals, Emit, Get, Host, Launch, Loop, Phase, Put, Ready, Receive, Source, Step, Wait
from sim.fast.device import Device, Stream
from sim.fast.launch_queue import NEVER
from sim.fast.plan import Chain, Filled, Planner, Segment, Train
from sim.fast.refusal import OutsideError
from sim.fast.spans import SpanWriter
from sim.program.calls import Call, HostCosts
from sim.program.jitter import Jitter
from sim.program.lowering import Framing, Lowering
from sim.program.ops import STEP, Copy, Kernel, Op, Record, Replay, Think, WaitEvent
from sim.serving.batch import Batch, StepResult
from sim.timeline.spans import Column, Kind


class HostThread:
    """One host thread on its own device; ``now`` is its clock, and the only one there is."""

    def __init__(
        self,
        costs: HostCosts,
        lower: Lowering,
        device: Device,
        spans: SpanWriter,
        source: Source,
        jitter: Jitter | None,
    ) -> None:
        self.now = 0
        self._costs = costs
        self._lower = lower
        self._framed = lower.framed if isinstance(lower, Framing) else None
        self._device = device
        self._spans = spans
        self._source = source
        self._jitter = jitter
        self._planner = Planner(costs, spans.recorder)
        self._queues: dict[str, deque[Any]] = defaultdict(deque)
        self._num_steps = 0

    def run(self, loop: Loop[Any]) -> None:
        """Run the loop to its end; raises ``RuntimeError`` when it waits for what nobody will do."""
        interpret: dict[type, Callable[[Any], Any]] = {
            Receive: self._receive, Host: self._work, Launch: self._launch, Wait: self._wait, Ready: self._ready,
            Put: self._put, Get: self._get, Emit: self._emit,
        }  # fmt: skip
        answer: Any = None
        while True:
            try:
                effect = loop.send(answer)
            except StopIteration:
                return
            act = interpret.get(effect.__class__)
            if act is None:
                raise TypeError(f"a loop yielded {effect!r}, which is no effect")
            answer = act(effect)

    def _spend(self, ns: int) -> None:
        self.now += ns if self._jitter is None else self._jitter(ns)

    def _receive(self, effect: Receive) -> Arrivals:
        arrival = self._source.next_arrival()
        if effect.block and arrival is not None and arrival > self.now:
            self._spans.host(self.now, arrival, Kind.NO_WORK, "no work")
            self.now = arrival
        start = self.now
        requests = self._source.take(start)
        self._spend(self._costs.work_ns("receive", len(requests), 0))
        self._spans.host(start, self.now, Kind.HOST, "receive")
        return Arrivals(start, requests, closed=self._source.next_arrival() is None)

    def _work(self, effect: Host) -> Any:
        start = self.now
        result = effect.work()
        batch = effect.batch if effect.batch is not None else result if isinstance(result, Batch) else None
        rows, tokens = (batch.rows, batch.tokens) if batch is not None else (0, 0)
        self._spend(self._costs.work_ns(effect.name, rows, tokens))
        self._spans.host(start, self.now, Kind.HOST, effect.name, step=-1 if batch is None else batch.index)
        return result

    def _emit(self, effect: Emit) -> None:
        self._spans.recorder.emit(effect.outputs, self.now)

    def _put(self, effect: Put) -> None:
        self._queues[effect.queue].append(effect.item)

    def _get(self, effect: Get) -> Any:
        queue = self._queues[effect.queue]
        if not queue:
            raise RuntimeError(f"the host thread waits for ever for queue {effect.queue!r}")
        return queue.popleft()

    def _ready(self, effect: Ready) -> bool:
        start = self.now
        self._spend(self._costs.scaled(self._costs.constants.event_query_call))
        self._spans.host(start, self.now, Kind.CALL, "cudaEventQuery")
        return self._fired(effect.on) <= self.now

    def _wait(self, effect: Wait) -> StepResult:
        on = effect.on
        step = on if isinstance(on, Step) else None
        whole = on == DEVICE
        fired = self._device.idle_since if whole else self._fired(on)
        self._synchronize(
            fired, device=whole, blocking=effect.how == "blocking", step=-1 if step is None else step.index
        )
        batch = None if step is None else step.batch
        return StepResult(self.now, () if batch is None else self._source.stopped(batch))

    def _fired(self, on: Step | Hashable) -> int:
        """When the latest record of an event fires; one that nobody has recorded is as good as fired, as in CUDA."""
        if not isinstance(on, Step):
            return self._device.events.get(on, NEVER)
        if on.mark is None:
            raise ValueError(f"step {on.index} has recorded no event, so it cannot be waited for")
        fired: int = on.mark
        return fired

    def _synchronize(self, fired: int, *, device: bool, blocking: bool, step: int) -> None:
        constants, start = self._costs.constants, self.now
        call = constants.device_sync_call if device else constants.event_sync_call
        late = fired + constants.wake(device=device, blocking=blocking) if fired > start else NEVER
        self.now = max(start + self._costs.scaled(call), late)
        self._spans.host(
            start, self.now, Kind.WAIT, "cudaDeviceSynchronize" if device else "cudaEventSynchronize", step=step
        )

    def _launch(self, effect: Launch) -> Step:
        work = effect.work
        batch = work.batch if isinstance(work, Phase) else None
        step = Step(self._num_steps if batch is None else batch.index, batch)
        self._num_steps += 1
        if not isinstance(work, Phase):
            self.enqueue(self._planner.of_ops(effect.stream, work), step)
        elif work.sync_each:
            for stream, ops in self._lower(work):
                self._one_by_one(self._device.stream(stream), ops, step)
        elif self._framed is not None:
            self.enqueue(self._planner.of_frame(*self._framed(work)), step)
        else:
            for stream, ops in self._lower(work):
                self.enqueue(self._planner.of_ops(stream, ops), step)
        return step

    def enqueue(self, filled: Filled, step: Step) -> None:
        """Make a plan's calls."""
        for name, segments in filled.plan.pieces:
            stream = self._device.stream(name)
            for segment in segments:
                self._enqueue(stream, segment, filled, step)

    def _enqueue(self, stream: Stream, segment: Segment, filled: Filled, step: Step) -> None:
        if isinstance(segment, Train):
            self._train(stream, segment, filled, step.index)
        elif isinstance(segment, Chain):
            self._replay(stream, segment, filled, step.index)
        else:
            self._call(stream, filled.ops[segment] if isinstance(segment, int) else segment, step)

    def _one_by_one(self, stream: Stream, ops: Sequence[Op], step: Step) -> None:
        for op in ops:
            filled = self._planner.of_ops(stream.name, [op])
            self._enqueue(stream, filled.plan.pieces[0][1][0], filled, step)
            if op.__class__ is not Record and op.__class__ is not Think:
                self._synchronize(self._device.idle_since, device=True, blocking=False, step=step.index)

    def _paid(self, held: int, api: int) -> int:
        """Make a call; returns when it began."""
        start = self.now
        self._spend(held)
        self._spend(api)
        return start

    def _call(self, stream: Stream, op: Op, step: Step) -> None:
        device, call = self._device, self._costs.call(op)
        start = self._paid(call.held, call.api)
        match op:
            case Kernel():
                begin = device.kernel(stream, self.now, op.ns)
                self._returned(stream, start, call, step.index)
                self._spans.kernel(stream.track, begin, begin + op.ns, op.name, step.index)
            case Copy():
                begin = device.copy(stream, self.now, op)
                end = begin + op.ns
                opens = stream.launches.opens(self.now)
                self.now = max(self.now, opens)
                if not op.pinned:
                    copied = max(stream.reached, 0)
                    self.now = copied + self._costs.constants.wake_spin if copied > self.now else self.now
                self._spans.call(start, self.now, call.name, step.index)
                self._spans.copy(stream.track, begin, end, op, step.index)
            case Record():
                fired = device.record(stream, self.now, timed=op.timed)
                if op.event is STEP:
                    step.mark = fired
                else:
                    device.events[op.event] = fired
                self._spans.call(start, self.now, call.name, step.index)
            case WaitEvent():
                mark: int | None = step.mark if op.event is STEP else device.events.get(op.event)
                stream.floor = stream.floor if mark is None else max(stream.floor, mark)
                self._spans.call(start, self.now, call.name, step.index)
            case Think():
                self._spans.host(start, self.now, Kind.HOST, call.name, step=step.index)
            case Replay():
                raise OutsideError("graphs with branches")
            case _:
                raise OutsideError("collectives")

    def _returned(self, stream: Stream, start: int, call: Call, step: int) -> None:
        """A launch's call returns, later if the queue is full."""
        opens = stream.launches.opens(self.now)
        self.now = max(self.now, opens)
        self._spans.call(start, self.now, call.name, step)

    def _replay(self, stream: Stream, chain: Chain, filled: Filled, step: int) -> None:
        device, api = self._device, chain.call.api
        if chain.executable not in device.launched:
            device.launched.add(chain.executable)
            api += chain.first
        start = self._paid(chain.call.held, api)
        ops = filled.ops
        ns = sum([ops[i].ns * count for i, count in chain.counts])  # type: ignore[union-attr, misc]
        begin = device.replay(stream, chain.executable, self.now, len(chain.at), ns)
        self._returned(stream, start, chain.call, step)
        if self._spans.kept:
            self._spans.graph(
                stream.track, begin, filled.ns[chain.at], chain.names, self._costs.constants.graph_gap, step
            )

    def _train(self, stream: Stream, train: Train, filled: Filled, step: int) -> None:
        ns = filled.ns[train.at]
        returns = train.returns
        if self._jitter is not None:
            calls = np.stack([train.held, train.api], axis=1).ravel()
            returns = np.cumsum(self._jitter.many(calls).reshape(-1, 2).sum(axis=1))
        launches = stream.launches
        if not launches.can_fill(self.now, len(ns)):
            submits = returns + self.now
            starts = self._device.train(stream, submits, ns)
            self._spans.train(stream.track, self.now, submits, starts, ns, train.names, step)
            self.now = int(submits[-1])
            return
        costs = np.diff(returns, prepend=0)
        for low in range(0, len(ns), launches.depth):
            block = slice(low, low + launches.depth)
            self._held_up(stream, costs[block], ns[block], train.names[block], step)

    def _held_up(self, stream: Stream, costs: Column, ns: Column, names: Column, step: int) -> None:
        """A piece of a train, no longer than the launch queue, each of whose calls may have to wait for its slot."""
        opens = stream.launches.opens_train(len(ns))
        total = np.cumsum(costs)
        returns = total + np.maximum(self.now, np.maximum.accumulate(opens - total))
        submits = np.append(self.now, returns[:-1]) + costs
        starts = self._device.train(stream, submits, ns)
        self._spans.train(stream.track, self.now, returns, starts, ns, names, step)
        self.now = int(returns[-1])
