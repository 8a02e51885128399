"""The host thread of a fast machine: interprets a loop's effects, one after the other."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np

from sim.effects import (
    DEVICE,
    Arrivals,
    Emit,
    Get,
    Host,
    Launch,
    Loop,
    Phase,
    Put,
    Ready,
    Receive,
    Source,
    Steady,
    Step,
    Wait,
)
from sim.fast.caller import Caller
from sim.fast.composition import Composition, IrregularError
from sim.fast.cycle import Cycle, cycle_of
from sim.fast.iterations import Item, Iterations
from sim.fast.launch_queue import NEVER
from sim.fast.launches import BatchLaunches
from sim.fast.listed import Lists
from sim.fast.plan import Planner
from sim.fast.repeats import Repeats
from sim.fast.rounds import FEW, Rounds
from sim.program.lowering import Framing, Lowering
from sim.program.ops import Op, Record, Think
from sim.serving.batch import Batch, StepResult
from sim.serving.batch import Phase as BatchPhase
from sim.timeline.spans import Kind

SHORTEST, LONGEST = 6, 256
"""Iterations that are worth composing, and that fit into memory."""

LONGEST_PAUSE = 256
"""Iterations run singly, at most, after compositions in vain: each vain one doubles the pause to the next."""


class HostThread:
    """One host thread, whose clock is its caller's.

    While ``watching`` it composes single steps to know their ``cycle`` and runs none of them at once.
    """

    def __init__(self, caller: Caller, lower: Lowering, source: Source) -> None:
        self._caller = caller
        self._costs = caller.costs
        self._spans = caller.spans
        self._lower = lower
        self._source = source
        planner = Planner(caller.costs, caller.spans.recorder)
        self._queues: dict[str, deque[Any]] = defaultdict(deque)
        self._iterations = Iterations()
        self._lists = Lists(caller, planner)
        self._launches = BatchLaunches(caller, lower, planner) if isinstance(lower, Framing) else None
        self._repeats = Repeats(caller)
        self._rounds: Rounds | None = None
        if self._launches is not None and caller.jitter is None and not self._spans.kept:
            self._rounds = Rounds(caller, source, self._launches, self._iterations)
        self._answers: deque[Any] = deque()
        self._vain = self._pause = 0
        self.cycle: Cycle | None = None
        self.watching = False

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
            if self._rounds is not None:
                self._rounds.saw(effect, answer)

    def _receive(self, effect: Receive) -> Arrivals:
        caller, source, iterations = self._caller, self._source, self._iterations
        repeated = iterations.begin(caller.now)
        block, received = effect.block, None
        if self._rounds is not None and effect.steady is not None and not self.watching:
            self._rounds.begin(effect.steady)
            received = self._rounds.run(effect.steady)
            self._answers.extend(received.answers if received is not None else ())
            block = received is None and effect.steady.idle
        if effect.steady is None or received is not None or not self._decodes:
            iterations.broken()
        elif not self.watching:
            self._hurry(effect.steady, repeated)
        elif repeated is not None:
            composed = self._composed(repeated, 1)
            self.cycle = cycle_of(composed) if composed.settles(caller.now) else None
        if block:
            arrival = source.next_arrival()
            if arrival is None and not source.closed:
                raise RuntimeError("the host thread waits for ever for clients who wait for it")
            if arrival is not None and arrival > caller.now:
                self._spans.host(caller.now, arrival, Kind.NO_WORK, "no work")
                caller.now = arrival
        start = caller.now
        requests = source.take(start)
        ns = self._costs.work_ns("receive", len(requests if received is None else received.requests), 0)
        if iterations.current is not None:
            iterations.worked(ns, "receive", None)
        caller.spend(ns)
        if self._spans.kept:
            self._spans.host(start, caller.now, Kind.HOST, "receive")
        return Arrivals(start, requests, source.closed)

    def _work(self, effect: Host) -> Any:
        name, work, batch = effect
        caller = self._caller
        start = caller.now
        result = self._answers.popleft() if self._answers else work()
        scheduled = batch is None and isinstance(result, Batch)
        if scheduled:
            batch = result
        if batch is None:
            ns = self._costs.work_ns(name, 0, 0)
        else:
            ns = self._costs.work_ns(name, batch.rows, batch.tokens, len(batch.prompts))
        if self._iterations.current is not None:
            self._iterations.worked(ns, name, batch)
        caller.spend(ns)
        if self._spans.kept:
            self._spans.host(start, caller.now, Kind.HOST, name, step=-1 if batch is None else batch.index)
        if scheduled and result.admitted:
            self._spans.recorder.scheduled(result, caller.now)
        return result

    def _emit(self, effect: Emit) -> None:
        outputs, now = effect.outputs, self._caller.now
        if self._iterations.current is not None:
            self._iterations.emitted(outputs)
        self._spans.recorder.emit(outputs, now)
        self._source.react(outputs, now)

    def _put(self, effect: Put) -> None:
        self._iterations.broken()
        self._queues[effect.queue].append(effect.item)

    def _get(self, effect: Get) -> Any:
        self._iterations.broken()
        queue = self._queues[effect.queue]
        if not queue:
            raise RuntimeError(f"the host thread waits for ever for queue {effect.queue!r}")
        return queue.popleft()

    def _ready(self, effect: Ready) -> bool:
        self._iterations.broken()
        start = self._caller.now
        self._caller.spend(self._costs.scaled(self._costs.constants.event_query_call))
        self._spans.host(start, self._caller.now, Kind.CALL, "cudaEventQuery")
        return self._fired(effect.on) <= self._caller.now

    def _wait(self, effect: Wait) -> StepResult:
        on = effect.on
        step = on if isinstance(on, Step) else None
        whole = on == DEVICE
        fired = self._caller.device.idle_since if whole else self._fired(on)
        if step is None:
            self._iterations.broken()
        else:
            self._iterations.waited(step, effect.how, late=fired > self._caller.now)
        index = -1 if step is None else step.index
        self._synchronize(fired, device=whole, blocking=effect.how == "blocking", step=index)
        batch = None if step is None else step.batch
        return StepResult(self._caller.now, () if batch is None else self._source.stopped(batch))

    def _fired(self, on: Step | Hashable) -> int:
        """When the latest record of an event fires; one that nobody has recorded is as good as fired, as in CUDA."""
        if not isinstance(on, Step):
            return self._caller.device.events.get(on, NEVER)
        if on.mark is None:
            raise ValueError(f"step {on.index} has recorded no event, so it cannot be waited for")
        fired: int = on.mark
        return fired

    def _synchronize(self, fired: int, *, device: bool, blocking: bool, step: int) -> None:
        constants, start = self._costs.constants, self._caller.now
        call = constants.device_sync_call if device else constants.event_sync_call
        now = start + self._costs.scaled(call)
        if fired > start:
            now = max(now, fired + constants.wake(device=device, blocking=blocking))
        self._caller.now = now
        if self._spans.kept:
            name = "cudaDeviceSynchronize" if device else "cudaEventSynchronize"
            self._spans.host(start, now, Kind.WAIT, name, step=step)

    def _launch(self, effect: Launch) -> Step:
        work = effect.work
        if not isinstance(work, Phase):
            step = Step(self._iterations.launches)
            self._iterations.launches += 1
            self._lists.launch(effect.stream, work, step)
            self._iterations.broken()
            return step
        step = Step(work.batch.index, work.batch)
        self._iterations.launches += 1
        if work.sync_each:
            for stream, ops in self._lower(work):
                self._one_by_one(stream, ops, step)
        elif self._launches is not None:
            self._launches.launch(work, step)
            self._iterations.launched(self._launches.plan, step)
            return step
        else:
            for stream, ops in self._lower(work):
                self._lists.launch(stream, ops, step)
        self._iterations.broken()
        return step

    @property
    def _decodes(self) -> bool:
        """Whether a decode step was launched last, on a host without jitter."""
        phase = None if self._launches is None else self._launches.phase
        return phase is not None and phase.batch.phase is BatchPhase.DECODE and self._caller.jitter is None

    def _composed(self, items: list[Item], steps: int) -> Composition:
        launches = self._launches
        assert launches is not None
        assert launches.phase is not None
        batch = launches.phase.batch
        # every row attends to one token more each time
        contexts = batch.decode_context + batch.rows * np.arange(1, steps + 1)
        times = launches.framing.over(launches.phase, contexts)
        return Composition(self._caller, items, list(self._iterations.steps), times)

    def _hurry(self, steady: Steady, repeated: list[Item] | None) -> None:
        """Run iterations ahead of the loop that do what it was seen to do: many composed, a few one by one."""
        launches = self._launches
        assert launches is not None
        phase, frame = launches.phase, launches.frame
        if phase is None or frame is None:
            return
        known = None
        if not self._spans.kept:
            batch = phase.batch
            prices = launches.framing.prices(phase)
            known = self._repeats.seen((frame, batch.rows, self._iterations.in_flight), repeated, launches.plan)
            if known is not None and not known[1].trains:
                self._iterations.broken()
        if repeated is not None and (known is None or known[1].trains):
            if self._pause:
                self._pause -= 1
            elif (tried := self._jump(steady, repeated)) is not None:
                self._vain = self._pause = 0 if tried else min(2 * self._vain or 1, LONGEST_PAUSE)
                if tried:
                    return
        if known is None:
            return
        work, stretch = known
        steps = steady.quiet_steps(self._source.next_stop(self._iterations.oldest))
        if not steps:
            return
        arrival = self._source.next_arrival()
        done = stretch.run(work, batch, prices, steady.kv_blocks(steps), steps, arrival, self._iterations)
        if done:
            steady.advance(done)

    def _jump(self, steady: Steady, items: list[Item]) -> bool | None:
        """Run as many iterations at once as do what the last one did, one token further.

        Returns whether composing them led anywhere, and None when too few are ahead to try.
        """
        caller, iterations = self._caller, self._iterations
        assert self._launches is not None
        assert self._launches.phase is not None
        batch = self._launches.phase.batch
        steps = min(steady.quiet_steps(self._source.next_stop(self._iterations.oldest)), LONGEST)
        arrival = self._source.next_arrival()
        if arrival is not None:
            steps = min(steps, (arrival - caller.now) // max(1, iterations.period) + 2)
        if steps < (SHORTEST if self._spans.kept else FEW):
            return None
        try:
            composed = self._composed(items, steps)
        except IrregularError:
            return False
        states = composed.states(caller.now)
        steps = composed.holds(states, arrival)
        if steps < SHORTEST:
            return False
        index, rows = batch.index + 1, batch.rows
        deliveries = self._spans.recorder.deliveries
        for form, lag in composed.emitted:
            times = composed.values(form, states)[:steps]
            deliveries.extend(
                steps,
                times,
                index - lag + np.arange(steps),
                rows,
                rows,
                False,
                np.array(steady.kv_blocks(steps)[:steps]),
                0,
                0,
                rows,
                batch.padding,
            )
        composed.spans.write(caller.spans.recorder, partial(composed.values_of, states=states), steps, index)
        composed.leave(caller, states, steps)
        for step in iterations.steps:
            step.index += steps
        iterations.launches += steps
        iterations.began = int(states[steps - 1, 0])
        steady.advance(steps)
        return True

    def _one_by_one(self, stream: str, ops: Sequence[Op], step: Step) -> None:
        """Launch operations and wait for the device after each, as a naive loop does."""
        self._caller.device.stream(stream)
        for op in ops:
            self._lists.launch(stream, (op,), step)
            if op.__class__ is not Record and op.__class__ is not Think:
                self._synchronize(self._caller.device.idle_since, device=True, blocking=False, step=step.index)
