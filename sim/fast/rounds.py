"""Rounds of a server's loop that go on without the loop: what it was seen to do with such a batch is done again.

A loop that hands over its server keeps nothing from one round to the next but batches and steps in flight. Most do the
same in each: receive, schedule, prepare, launch, and deliver the step that was launched so many rounds before.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

from sim.effects import Effect, Emit, Host, How, Launch, Part, Phase, Receive, Source, Steady, Step, Wait
from sim.fast.caller import Caller
from sim.fast.iterations import Emitted, Item, Iterations, Launched, Waited, Worked
from sim.fast.launches import BatchLaunches
from sim.fast.quiet import FOR_EVER, Asked, Quiet, Stretch, Told
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
    """Of rounds with some rows: durations, what host work takes, code for many, and what its last piece is called."""

    prices: Prices
    work: list[int]
    stretch: Stretch
    process: str


class Bail(NamedTuple):
    """A round that the loop is to finish: what was received, and the answers to what it asks for next."""

    requests: tuple[Request, ...]
    answers: list[Any]


class Rounds:
    """Recognizes rounds in the effects of a loop, and runs those that follow as long as they are of a kind seen."""

    def __init__(self, caller: Caller, source: Source, launches: BatchLaunches, iterations: Iterations) -> None:
        self._caller = caller
        self._recorder = caller.spans.recorder
        self._source = source
        self._launches = launches
        self._iterations = iterations
        self._known: dict[Kind, Round] = {}
        self._in_flight = 0
        self._seen: list[tuple[Effect, Any]] = []
        self._repeated: dict[tuple[int, int | None, int], Repeated] = {}
        self._stretches: dict[tuple[int, Frame], Stretch] = {}
        self._shared: dict[Hashable, Quiet] = {}
        # of the rounds that go on by themselves just now
        self._steady: Steady
        self._lag = 0
        self._last: Repeated | None = None
        self._out: list[tuple[Any, ...]] = []
        self._scheduled: list[Batch | None] = []
        self._composing = False
        # when the server was asked for a round last, and how long that took
        self._began = self._took = 0

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
        caller, source, iterations = self._caller, self._source, self._iterations
        work_ns, steps = caller.costs.work_ns, iterations.steps
        lag = iterations.in_flight
        if lag != self._lag:
            self._last = None
        self._steady, self._lag, self._composing = steady, lag, False
        entered = [steps[-back] for back in range(lag, 0, -1)]
        bail = None
        while not steady.idle:
            self._go_on()
            if self._composing or (not self._scheduled and steady.idle):
                break
            now = caller.now
            requests: tuple[Request, ...] = ()
            if self._scheduled:
                batch = self._scheduled.pop()
            else:
                arrival = source.next_arrival()
                if arrival is not None and arrival <= now:
                    requests = source.take(now)
                    steady.add(requests)
                batch = steady.schedule()
                if batch is not None:
                    steady.prepare(batch)
            known = None if batch is None else self._known.get(_kind(lag, batch))
            if batch is None or known is None:
                bail = Bail(requests, [None] if batch is None else [batch, None])
                break
            parts, _, how, (schedule, prepare, process) = known
            rows, tokens, prompts = batch.rows, batch.tokens, len(batch.prompts)
            now += work_ns("receive", len(requests), 0) + work_ns(schedule, rows, tokens, prompts)
            if batch.admitted:
                self._recorder.scheduled(batch, now)
            caller.now = now + work_ns(prepare, rows, tokens, prompts)
            iterations.launches += 1
            step = Step(batch.index, batch)
            self._launches.launch(Phase(batch, parts), step)
            steps.append(step)
            caller.now = self._delivered(self._waited(steps[-1 - lag].mark, how), process)
        self._hand_back(steady, entered)
        return bail

    def _waited(self, fired: int, how: How) -> int:
        """When a step's wait returns that begins now."""
        constants, start = self._caller.costs.constants, self._caller.now
        now = start + self._caller.costs.scaled(constants.event_sync_call)
        return now if fired <= start else max(now, fired + constants.wake(device=False, blocking=how == "blocking"))

    def _delivered(self, now: int, process: str) -> int:
        """A step's result is there, and is processed; returns when its tokens have left."""
        due = self._iterations.steps[-1 - self._lag]
        batch = due.batch
        assert batch is not None
        outputs = self._steady.process(batch, StepResult(now, self._source.stopped(batch)))
        now += self._caller.costs.work_ns(process, batch.rows, batch.tokens, len(batch.prompts))
        self._iterations.delivered(due)
        self._recorder.emit(outputs, now)
        self._source.react(outputs, now)
        return now

    def _go_on(self) -> None:
        """Run rounds of decode steps like those seen, until requests arrive or there is another to run."""
        source, steps, last = self._source, self._iterations.steps, self._last
        batch, arrival = steps[-1].batch, source.next_arrival()
        assert batch is not None
        if arrival is not None and arrival <= self._caller.now:
            return
        quiet = 0
        if batch.phase is BatchPhase.DECODE:
            last = self._repeating(batch)
            quiet = 0 if last is None else self._quiet(last, self._caller.now, arrival)
        if last is None or self._composing:
            return
        self._last = last
        prices, work, stretch, _ = last
        blocks = self._steady.kv_blocks(quiet) if quiet else ()
        done = stretch.run(work, batch, prices, blocks, quiet, arrival, self._iterations, self, self._out)
        self._out.clear()
        if done:
            self._steady.advance(done)

    def _quiet(self, repeated: Repeated, now: int, arrival: int | None) -> int:
        """How many rounds after the newest have nothing to tell; many that are to be composed are left to others."""
        steps, lag = self._iterations.steps, self._lag
        quiet = self._steady.quiet_steps(self._source.next_stop(steps[-lag].batch if lag else None))
        if repeated.stretch.trains and quiet >= FEW:
            self._composing = arrival is None or arrival - now >= FEW * self._took
        return quiet

    def ask(self, done: int, now: int) -> Asked | None:
        """Ask the server for the next batch, after so many quiet rounds; None if it is not launched like the last."""
        steady, iterations = self._steady, self._iterations
        if done:
            iterations.passed(done)
            steady.advance(done)
        batch = steady.schedule()
        if batch is not None:
            steady.prepare(batch)
        repeated = self._repeating(batch) if batch is not None and batch.phase is BatchPhase.DECODE else None
        if (
            batch is None
            or repeated is None
            or self._last is None
            or repeated.stretch.code is not self._last.stretch.code
        ):
            self._scheduled.append(batch)
            return None
        self._last, self._began = repeated, now
        work = repeated.work
        if batch.admitted:
            self._recorder.scheduled(batch, now + work[0] + work[1])
        iterations.launches += 1
        iterations.steps.append(Step(batch.index, batch))
        return repeated.prices, work, batch.index, batch.decode_context, batch.rows, batch.padding

    def told(self, now: int) -> Told:
        """Process a result that tells something."""
        if self._out:
            self._recorder.deliveries.add_all(self._out)
            self._out.clear()
        assert self._last is not None
        now = self._delivered(now, self._last.process)
        self._took = now - self._began
        arrival = self._source.next_arrival()
        quiet = self._quiet(self._last, now, arrival)
        if self._composing or (not quiet and self._steady.idle):
            arrival = now  # the end of these rounds
        blocks = iter(self._steady.kv_blocks(quiet)).__next__ if quiet else int
        return now, FOR_EVER if arrival is None else arrival, quiet, blocks

    def _repeating(self, batch: Batch) -> Repeated | None:
        """Of rounds with as many rows, None of those that were not seen, or on a device that has not come to rest."""
        launches, work_ns, lag = self._launches, self._caller.costs.work_ns, self._lag
        repeated = self._repeated.get((lag, batch.bucket, batch.rows))
        if repeated is not None:
            return repeated
        known = self._known.get(_kind(lag, batch))
        if known is None:
            return None
        schedule, prepare, process = names = known.names
        prices = launches.framing.prices(Phase(batch, known.parts))
        frame = prices.frame
        stretch = self._stretches.get((lag, frame))
        if stretch is None:
            if launches.frame is not frame or launches.before is not frame:
                return None
            items: list[Item] = [
                Worked(0, "receive", None), Worked(0, schedule, -1), Worked(0, prepare, -1), Launched(launches.plan),
                Waited(lag, known.how, late=False), Worked(0, process, lag), Emitted(lag),
            ]  # fmt: skip
            stretch = Stretch(self._caller, items, frame, launches.plan, self._shared, asks=True)
            self._stretches[lag, frame] = stretch
        work = [work_ns("receive", 0, 0), *(work_ns(name, batch.rows, batch.tokens) for name in names)]
        repeated = self._repeated[lag, batch.bucket, batch.rows] = Repeated(prices, work, stretch, process)
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
        newest = steps[-1].batch
        if launches.phase is not None and newest is not None and newest is not launches.phase.batch:
            phase = Phase(newest, self._known[_kind(self._lag, newest)].parts)
            repeated = self._repeating(newest) if newest.phase is BatchPhase.DECODE else None
            if repeated is None:
                launches.phase = phase
            else:
                launches.launched(phase, repeated.stretch.frame, repeated.stretch.plan)


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
