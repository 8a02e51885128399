"""A server driven at random, beside a bookkeeping that is naive: it goes row by row and counts everything anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.serving.batch import Batch, Chunk, Phase, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import RequestSlots, SlotRing
from sim.serving.kv_cache import KVCache
from sim.serving.policies import Policy, decode_first, mixed, prefill_first
from sim.serving.request import Reason, Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server
from sim.serving.waiting import ArrivalOrder, ShortestFirst, Waiting

BLOCK = 4


class AnyServer(RuleBasedStateMachine):
    """Requests arrive and stop anywhere; up to ``ahead`` steps are in flight when the next is scheduled.

    ``resident`` hold blocks, in order of admission; ``done`` of the ``prompt`` tokens that each computes before it
    decodes are scheduled. ``running`` are the rows of the next decode batch. ``sampled`` counts the tokens scheduled
    for a request, late ones included, ``delivered`` those it received. ``feeders`` are the steps whose tokens a step
    in flight reads.
    """

    @initialize(
        ahead=st.integers(0, 2),
        policy=st.sampled_from([prefill_first, decode_first, mixed]),
        waiting=st.sampled_from([ArrivalOrder, ArrivalOrder, ShortestFirst]),
        foresee_length=st.booleans(),
        num_blocks=st.integers(7, 20),
        max_rows=st.integers(1, 5),
        token_budget=st.integers(5, 40),
        chunked=st.booleans(),
        grow=st.booleans(),
        watermark=st.sampled_from([0.0, 0.2]),
        ring=st.booleans(),
    )
    def start(
        self,
        *,
        ahead: int,
        policy: Policy,
        waiting: Callable[[], Waiting],
        num_blocks: int,
        max_rows: int,
        ring: bool,
        **knobs: bool,
    ) -> None:
        self.ahead = ahead
        self.kv = KVCache(num_blocks, BLOCK)
        self.scheduler = Scheduler(self.kv, policy=policy, waiting=waiting(), max_rows=max_rows, **knobs)
        self.fcfs = waiting is ArrivalOrder
        # live at most: the new step, those in flight before it, and as many that the oldest of them reads
        count = (2 * ahead + 2) * max_rows - 1
        self.slots = SlotRing(count) if ring else RequestSlots(count + 1)
        self.server = Server(self.scheduler, Buckets([1, 2, 4]), self.slots)
        self.arrived: list[Request] = []
        self.waiting: list[Request] = []
        self.resident: list[Request] = []
        self.running: list[Request] = []
        self.prompt: dict[int, int] = {}
        self.done: dict[int, int] = {}
        self.before: dict[int, int] = {}
        self.in_flight: list[Batch] = []
        self.feeders: dict[int, list[Batch]] = {}
        self.sampled: Counter[int] = Counter()
        self.delivered: Counter[int] = Counter()
        self.finished: dict[int, tuple[int, Reason]] = {}
        self.num_executed = self.num_late = self.num_partial = 0

    @rule(shapes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 6), st.booleans()), min_size=1, max_size=4))
    def arrive(self, shapes: list[tuple[int, int, bool]]) -> None:
        requests = tuple(
            Request(len(self.arrived) + i, context, max_tokens, computed=computed)
            for i, (context, max_tokens, computed) in enumerate(shapes)
        )
        self.server.add(requests)
        self.arrived += requests
        self.waiting += requests

    @precondition(lambda self: len(self.in_flight) <= self.ahead)
    @rule()
    def schedule(self) -> None:
        others = bool(self.resident)
        batch = self.server.schedule()
        if batch is None:
            # nobody decodes, or rows need more blocks than there are, and results in flight may free some
            assert not self.running or (self.scheduler.grow and self.in_flight)
            return
        self.check_preempted(batch)
        self.check_admitted(batch, others=others)
        self.check_rows(batch)
        if self.scheduler.policy is not decode_first and self.fcfs and self.waiting and not batch.prompts:
            self.check_head_must_wait(batch)
        self.server.prepare(batch)
        self.check_slots(batch)
        self.in_flight.append(batch)

    @precondition(lambda self: self.in_flight)
    @rule(stopping=st.sets(st.integers(0, 4), max_size=3))
    def process(self, stopping: set[int]) -> None:
        """The oldest result comes back; the rows at these positions, late ones too, sampled their stop token."""
        batch = self.in_flight.pop(0)
        partial = {chunk.request.id for chunk in batch.prompts if not chunk.output}
        members = [r for r in batch.members if r.id not in partial]
        stopped = tuple(r.id for i, r in enumerate(members) if i in stopping)
        late = [r.id for r in members if r.id in self.finished]
        received = [r for r in members if r.id not in self.finished]
        self.delivered.update(r.id for r in received)
        ended = {}
        for r in received:
            if r.id in stopped:
                ended[r.id] = self.delivered[r.id], Reason.STOP
            elif self.delivered[r.id] == r.max_tokens:
                ended[r.id] = r.max_tokens, Reason.LENGTH
                self.check_overrun(r)
        outputs = self.server.process(batch, StepResult(0, stopped))
        assert (outputs.tokens, outputs.late, sorted(batch.late)) == (len(received), len(late), sorted(late))
        assert {r.id for r in outputs.first} == {r.id for r in received if self.delivered[r.id] == 1}
        assert sorted((r.id, n, why.value) for r, n, why in outputs.finished) == sorted(
            (number, n, why.value) for number, (n, why) in ended.items()
        )
        self.finished |= ended
        self.running = [r for r in self.running if r.id not in ended]
        computing = {r.id for each in self.in_flight for r in each.members}
        self.resident = [r for r in self.resident if r.id not in self.finished.keys() - computing]
        self.num_executed += batch.rows
        self.num_late += outputs.late
        self.num_partial += batch.partial

    @precondition(lambda self: len(self.arrived) - len(self.finished) > 4)
    @rule()
    def drain(self) -> None:
        """Nobody stops any more: all that arrived ends by length at the latest, and leaves nothing behind."""
        for _ in range(60 * len(self.arrived)):
            if self.server.idle:
                break
            if len(self.in_flight) <= self.ahead:
                self.schedule()
                self.nothing_is_leaked_or_taken_too_early()
            if self.in_flight:
                self.process(set())
                self.nothing_is_leaked_or_taken_too_early()
        assert self.server.idle
        assert self.finished.keys() == {r.id for r in self.arrived}
        assert self.num_executed == sum(n for n, _ in self.finished.values()) + self.num_late + self.num_partial
        assert (self.kv.num_free, self.slots.num_live) == (self.kv.num_blocks, 0)

    @invariant()
    def nothing_is_leaked_or_taken_too_early(self) -> None:
        tables = {r.id: self.kv.table(r.id) for r in self.resident}
        blocks = [block for table in tables.values() for block in table]
        assert len(set(blocks)) == len(blocks) == self.kv.num_blocks - self.kv.num_free
        if self.scheduler.foresee_length or self.ahead < 2:  # room for one row beyond the longest output is reserved
            assert all(len(tables[r.id]) * BLOCK >= self.tokens(r) - 1 for r in self.resident)
        if self.scheduler.grow:
            assert all(len(tables[r.id]) <= self.tokens(r) // BLOCK + 1 for r in self.resident)
        if isinstance(self.slots, RequestSlots):
            steps = [r for r in self.resident if any(r in b.members for b in self.in_flight)]
            assert len({self.slots.slot(r.id) for r in steps}) == len(steps) <= self.slots.num_live
        else:
            steps = {b.index: b for batch in self.in_flight for b in (batch, *self.feeders[batch.index])}
            assert all(self.slots.slots(index) == batch.slots for index, batch in steps.items())
            slots = [slot for batch in steps.values() for slot in batch.slots or ()]
            assert len(set(slots)) == len(slots) == self.slots.num_live
        if self.ahead == 0:
            assert self.num_late == 0

    def tokens(self, request: Request) -> int:
        """Tokens that attention reads in the next decode row of a resident request, its new one included."""
        return self.prompt[request.id] + 1 + self.sampled[request.id] - self.before[request.id]

    @property
    def in_work(self) -> int:
        """Rows that decode next, and prompts whose last piece has not been scheduled."""
        prompts = [
            r for r in self.resident if r not in self.running and self.done.get(r.id, 1 << 20) < self.prompt[r.id]
        ]
        return len(self.running) + len(prompts)

    def check_preempted(self, batch: Batch) -> None:
        """Who loses blocks was admitted last, has no token in flight, and goes before all who wait."""
        back = list(batch.preempted)
        if not back:
            return
        assert self.scheduler.grow
        assert not self.in_flight
        assert self.resident[-len(back) :] == back
        del self.resident[-len(back) :]
        self.running = [r for r in self.running if r not in back]
        assert all(self.sampled[r.id] == self.delivered[r.id] for r in back)
        self.waiting = back + self.waiting
        assert not [r for r in batch.admitted if not r.computed]

    def check_admitted(self, batch: Batch, *, others: bool) -> None:
        """Who got blocks waited, in order before those who still wait where nobody may overtake."""
        fresh = list(batch.admitted)
        for request in fresh:
            self.waiting.remove(request)
            self.resident.append(request)
            resumed = request.id in self.prompt
            self.before[request.id] = self.delivered[request.id]
            self.prompt[request.id] = request.context + self.delivered[request.id] + (resumed and request.computed)
            self.done[request.id] = 0
            if request.computed and not resumed:
                self.done[request.id] = request.context
                self.running.append(request)
        assert sorted(r.id for r in self.scheduler.waiting) == sorted(r.id for r in self.waiting)
        if self.fcfs:
            assert list(self.scheduler.waiting) == self.waiting
        if self.scheduler.grow and fresh and others and not batch.preempted:
            assert self.kv.num_free >= self.scheduler.watermark
        if not self.scheduler.grow:
            assert all(len(self.kv.table(r.id)) == -(-(r.context + r.max_tokens + 1) // BLOCK) for r in fresh)

    def check_rows(self, batch: Batch) -> None:
        decode, prompts = batch.members[: batch.decode_rows], batch.members[batch.decode_rows :]
        assert batch.rows <= self.in_work <= self.scheduler.max_rows
        assert [r.id for r in prompts] == [chunk.request.id for chunk in batch.prompts]
        assert batch.phase is (Phase.DECODE if not prompts else Phase.MIXED if decode else Phase.PREFILL)
        assert batch.rows == len(batch.members) > 0
        assert batch.tokens == len(decode) + sum(chunk.tokens for chunk in batch.prompts)
        if prompts and (self.scheduler.chunked or len(prompts) > 1):
            assert batch.tokens <= self.scheduler.token_budget
        assert batch.kv_blocks == self.kv.num_blocks - self.kv.num_free
        ending: list[Request] = []
        if decode:
            assert decode == tuple(self.running)
            assert batch.decode_context == sum(self.tokens(r) for r in decode)
            assert batch.joined == tuple(r for r in decode if self.done.pop(r.id, None) is not None)
            self.sampled.update(r.id for r in decode)
            ending = [r for r in decode if self.sampled[r.id] == r.max_tokens]
            if self.scheduler.foresee_length:
                self.running = [r for r in self.running if r not in ending]
        for chunk in batch.prompts:
            ending += self.check_chunk(chunk)
        assert sorted(r.id for r in batch.finishing) == sorted(r.id for r in ending)

    def check_chunk(self, chunk: Chunk) -> list[Request]:
        """A piece of a prompt goes on where the last one ended; whoever has no other token to come is returned."""
        request, whole = chunk.request, self.prompt[chunk.request.id]
        assert chunk.start == self.done[request.id]
        assert 0 < chunk.tokens <= whole - chunk.start
        assert self.scheduler.chunked or chunk.tokens == whole
        self.done[request.id] = chunk.stop
        if chunk.stop < whole:
            assert chunk.output == 0
            return []
        self.sampled[request.id] += 1
        self.before[request.id] += 1
        assert chunk.output == self.sampled[request.id] == self.delivered[request.id] + 1
        if chunk.output == request.max_tokens:
            return [request]
        self.running.append(request)
        return []

    def check_head_must_wait(self, batch: Batch) -> None:
        """Nobody waits while there are a row, blocks and tokens."""
        head = self.waiting[0]
        growing = [r for r in self.running if (self.tokens(r) - 2) % BLOCK == 0]
        tokens = (
            head.context + self.delivered[head.id] + 1 if self.scheduler.grow else head.context + head.max_tokens + 1
        )
        free = self.kv.num_free - (self.scheduler.watermark + len(growing) if self.scheduler.grow else 0)
        full = self.in_work >= self.scheduler.max_rows or -(-tokens // BLOCK) > free
        if self.scheduler.policy is mixed:
            full = full or batch.decode_rows >= self.scheduler.token_budget
        assert full or batch.preempted or batch.finishing

    def check_slots(self, batch: Batch) -> None:
        """Each row reads the newest step in flight that computes it; no step reads another's slots."""
        decode = batch.phase is Phase.DECODE
        assert batch.bucket == next((size for size in (1, 2, 4) if decode and size >= batch.rows), None)
        assert len(batch.slots or ()) == batch.rows
        if isinstance(self.slots, RequestSlots):
            assert tuple(batch.slots or ()) == tuple(self.slots.slot(r.id) for r in batch.members)
            return
        feeders = [b for b in self.in_flight if batch.decode_rows and b.slots in batch.sources]
        assert tuple(b.slots for b in feeders) == batch.sources
        for request in batch.members[: batch.decode_rows]:
            computing = [b for b in self.in_flight if request in b.members]
            assert not computing or computing[-1] in feeders
        self.feeders[batch.index] = feeders

    def check_overrun(self, request: Request) -> None:
        """An end by length that just came back: rows in flight beyond it are all that were launched, or none."""
        overrun = sum(request in batch.members for batch in self.in_flight)
        if self.scheduler.foresee_length or self.before[request.id] == request.max_tokens:
            assert overrun == 0
        else:
            assert overrun == sum(batch.decode_rows > 0 for batch in self.in_flight) <= self.ahead


AnyServer.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=50)
TestAnyServer = AnyServer.TestCase
