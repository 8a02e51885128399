"""Rounds of a server's loop that go on without the loop: what it was seen to do with such a batch is done again.

A loop that hands over its server keeps nothing from one round to the next but batches and steps in flight. Most do the
same in each: receive, schedule, prepare, launch, and deliver the step that was launched so many rounds before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from sim.effects import Effect, Emit, Host, How, Launch, Part, Phase, Receive, Source, Steady, Step, Wait
from sim.fast.caller import Caller
from sim.fast.iterations import Emitted, Item, Iterations, Launched, Waited, Worked
from sim.fast.launches import BatchLaunches
from sim.fast.quiet import Stretch
from sim.program.frame import Frame
from sim.program.lowering import Prices
from sim.serving.batch import Batch, StepResult
from sim.serving.batch import Phase as BatchPhase
from sim.serving.request import Request

FEW = 60
"""Rounds that are run faster one by one than composed, where their spans are not asked for."""

LONGEST = 8
"""Effects that are looked at; a round of more is none."""

Kind = tuple[int, BatchPhase, bool, bool]
"""Steps in flight when a round began, and of its batch the phase and whether it runs eager and in one piece."""


class Round(NamedTuple):
    """What is launched of a batch, how the step of ``lag`` rounds before is waited for, and names of host work."""

    parts: tuple[Part, ...]
    lag: int
    how: How
    names: tuple[str, str, str]


class Repeated(NamedTuple):
    """Of rounds that go on with some rows: durations, what each piece of host work takes, and code for many."""

    prices: Prices
    work: list[int]
    stretch: Stretch


class Bail(NamedTuple):
    """A round that the loop is to finish: what was received, and the answers to what it asks for next."""

    requests: tuple[Request, ...]
    answers: list[Any]


class Rounds:
    """Recognizes rounds in the effects of a loop, and runs those that follow as long as they are of a kind seen."""

    def __init__(self, caller: Caller, source: Source, launches: BatchLaunches, iterations: Iterations) -> None:
        self._caller = caller
        self._source = source
        self._launches = launches
        self._iterations = iterations
        self._known: dict[Kind, Round] = {}
        self._in_flight = 0
        self._seen: list[tuple[Effect, Any]] = []
        self._repeated: dict[tuple[int, int | None, int], Repeated] = {}
        self._stretches: dict[tuple[int, Frame], Stretch] = {}

    def saw(self, effect: Effect, answer: Any) -> None:
        """The loop went on by an effect."""
        if len(self._seen) < LONGEST:
            self._seen.append((effect, answer))

    def begin(self, steady: Steady) -> None:
        """The loop begins another round: learn what the last one was."""
        seen, in_flight = self._seen, self._in_flight
        self._seen, self._in_flight = [], self._iterations.in_flight
        found = _recognized(seen, steady, self._iterations.steps)
        if found is not None and found[1].lag == in_flight:
            batch, as_seen = found
            self._known[_kind(in_flight, batch)] = as_seen

    def run(self, steady: Steady) -> Bail | None:
        """Run rounds until there is nothing left to do, or one is of a kind that was never seen."""
        if not self._known or not 0 <= self._iterations.in_flight <= len(self._iterations.steps):
            return None
        caller, source, launches, iterations = self._caller, self._source, self._launches, self._iterations
        costs, recorder, steps, known = caller.costs, caller.spans.recorder, iterations.steps, self._known
        constants, call = costs.constants, costs.scaled(costs.constants.event_sync_call)
        lag = iterations.in_flight
        entered = [steps[-back] for back in range(lag, 0, -1)]
        work_ns = costs.work_ns
        bail = None
        while not steady.idle:
            if not self._go_on(steady, lag):
                break
            iterations.began = now = caller.now
            arrival = source.next_arrival()
            requests = source.take(now) if arrival is not None and arrival <= now else ()
            if requests:
                steady.add(requests)
            batch = steady.schedule()
            if batch is None:
                bail = Bail(requests, [None])
                break
            steady.prepare(batch)
            known_round = known.get((lag, batch.phase, batch.bucket is None, batch.pieces is None))
            if known_round is None:
                bail = Bail(requests, [batch, None])
                break
            parts, _, how, (schedule, prepare, process) = known_round
            rows, tokens, prompts = batch.rows, batch.tokens, len(batch.prompts)
            now += work_ns("receive", len(requests), 0) + work_ns(schedule, rows, tokens, prompts)
            if batch.admitted:
                recorder.scheduled(batch, now)
            caller.now = now + work_ns(prepare, rows, tokens, prompts)
            iterations.launches += 1
            step = Step(batch.index, batch)
            launches.launch(Phase(batch, parts), step)
            steps.append(step)
            due = steps[-1 - lag]
            batch = due.batch
            assert batch is not None
            start = caller.now
            now = start + call
            fired: int = due.mark
            if fired > start:
                now = max(now, fired + constants.wake(device=False, blocking=how == "blocking"))
            outputs = steady.process(batch, StepResult(now, source.stopped(batch)))
            now += work_ns(process, batch.rows, batch.tokens, len(batch.prompts))
            caller.now = now
            iterations.delivered(due)
            recorder.emit(outputs, now)
            source.react(outputs, now)
        self._hand_back(steady, entered)
        return bail

    def _go_on(self, steady: Steady, lag: int) -> bool:
        """Run rounds that only go on, one token further each; False where they are to be composed instead."""
        source, steps = self._source, self._iterations.steps
        batch, arrival = steps[-1].batch, source.next_arrival()
        assert batch is not None
        if batch.phase is not BatchPhase.DECODE or (arrival is not None and arrival <= self._caller.now):
            return True
        quiet = steady.quiet_steps(source.next_stop(steps[-lag].batch if lag else None))
        if not quiet:
            return True
        repeated = self._repeated.get((lag, batch.bucket, batch.rows)) or self._repeating(batch, lag)
        if repeated is None:
            return True
        prices, work, stretch = repeated
        if stretch.trains and quiet >= FEW:
            return False
        done = stretch.run(work, batch, prices, steady.kv_blocks(quiet), quiet, arrival, self._iterations)
        if done:
            self._iterations.launches += done
            steady.advance(done)
        return True

    def _repeating(self, batch: Batch, lag: int) -> Repeated | None:
        """Of rounds with as many rows, None on a device that has not come to rest in them, or in those not seen."""
        launches, work_ns = self._launches, self._caller.costs.work_ns
        found = self._known.get(_kind(lag, batch))
        frame = launches.frame
        if found is None or frame is None or launches.before is not frame:
            return None
        names = found.names
        stretch = self._stretches.get((lag, frame))
        if stretch is None:
            schedule, prepare, process = names
            items: list[Item] = [
                Worked(0, "receive", None), Worked(0, schedule, -1), Worked(0, prepare, -1), Launched(launches.plan),
                Waited(lag, found.how, late=False), Worked(0, process, lag), Emitted(lag),
            ]  # fmt: skip
            stretch = self._stretches[lag, frame] = Stretch(self._caller, items, frame, launches.plan)
        work = [work_ns("receive", 0, 0), *(work_ns(name, batch.rows, batch.tokens) for name in names)]
        prices = launches.framing.prices(Phase(batch, found.parts))
        repeated = self._repeated[lag, batch.bucket, batch.rows] = Repeated(prices, work, stretch)
        return repeated

    def _hand_back(self, steady: Steady, entered: list[Step]) -> None:
        """Steps in flight become those that the loop knows of, and their batches."""
        launches, steps = self._launches, self._iterations.steps
        for place, old in enumerate(entered, -len(entered)):
            new = steps[place]
            if new is old:
                continue
            assert old.batch is not None
            assert new.batch is not None
            steady.stand_in(old.batch, new.batch)
            old.index, old.mark = new.index, new.mark
            steps[place] = old
            if launches.phase is not None and launches.phase.batch is new.batch:
                launches.phase = Phase(old.batch, launches.phase.parts)


def _kind(in_flight: int, batch: Batch) -> Kind:
    return in_flight, batch.phase, batch.bucket is None, batch.pieces is None


def _recognized(seen: list[tuple[Effect, Any]], steady: Steady, steps: Sequence[Step]) -> tuple[Batch, Round] | None:
    """The batch and the round that effects and their answers make, None if they make none."""
    match seen:
        case [
            (Receive(), _),
            (Host(schedule, called, None), Batch() as batch),
            (Host(prepare, partial() as prepared, on), None),
            (Launch(Phase(launched, parts, False)), Step()),
            (Wait(Step() as due, how), result),
            (Host(process, partial() as processed, ended), outputs),
            (Emit(emitted), _),
        ] if (
            called == steady.schedule
            and (prepared.func, prepared.keywords) == (steady.prepare, {})
            and (processed.func, processed.keywords) == (steady.process, {})
            and _same(prepared.args, (batch,))
            and _same(processed.args, (due.batch, result))
            and _same((on, launched, ended, emitted), (batch, batch, due.batch, outputs))
        ):
            lag = next((lag for lag, step in enumerate(reversed(steps)) if step is due), None)
            return None if lag is None else (batch, Round(parts, lag, how, (schedule, prepare, process)))
    return None


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))
