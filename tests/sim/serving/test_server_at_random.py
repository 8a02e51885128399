"""A server driven at random, beside a bookkeeping that is naive: it goes row by row and counts everything anew."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.serving.batch import Batch, Chunk, Phase, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import SlotRing
from sim.serving.kv_cache import KVCache
from sim.serving.policies import Budget, Plan, Policy, Queues, decode_first, prefill_first
from sim.serving.request import Reason, Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server

PAGE = 4


def shortest_first(queues: Queues, budget: Budget) -> Plan:
    """One prompt a step, the shortest of all: requests overtake each other."""
    prompts = sorted((r for r in queues.waiting if not r.computed), key=lambda request: request.context)
    plan = tuple((r, r.context) for r in prompts[:1] if budget.rows and queues.blocks(r) <= budget.blocks)
    return Plan(plan, decode=not plan)


class AnyServer(RuleBasedStateMachine):
    """Requests arrive and stop anywhere; up to ``ahead`` steps are in flight when the next is scheduled.

    ``sampled`` counts the rows scheduled for a request, late ones included, ``delivered`` the tokens it received.
    ``running`` are the rows of the next decode batch, ``feeders`` the steps whose tokens a step in flight reads.
    """

    @initialize(
        ahead=st.integers(0, 2),
        policy=st.sampled_from([prefill_first, decode_first, shortest_first]),
        foresee_length=st.booleans(),
        num_blocks=st.integers(7, 20),
        max_rows=st.integers(1, 5),
        token_budget=st.integers(1, 40),
    )
    def start(
        self, *, ahead: int, policy: Policy, foresee_length: bool, num_blocks: int, max_rows: int, token_budget: int
    ) -> None:
        self.ahead = ahead
        self.kv = KVCache(num_blocks, PAGE)
        self.scheduler = Scheduler(
            self.kv, policy=policy, max_rows=max_rows, token_budget=token_budget, foresee_length=foresee_length
        )
        # live at most: the new step, those in flight before it, and as many that the oldest of them reads
        self.slots = SlotRing((2 * ahead + 2) * max_rows - 1)
        self.server = Server(self.scheduler, Buckets([1, 2, 4]), self.slots)
        self.arrived: list[Request] = []
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.in_flight: list[Batch] = []
        self.feeders: dict[int, list[Batch]] = {}
        self.sampled: Counter[int] = Counter()
        self.delivered: Counter[int] = Counter()
        self.finished: dict[int, tuple[int, Reason]] = {}
        self.num_executed = self.num_late = 0

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
        batch = self.server.schedule()
        prompts = self.admit()
        if batch is None:
            assert not prompts
            assert not self.running
        elif batch.phase is Phase.PREFILL:
            self.check_prefill(batch, prompts)
        else:
            assert not prompts
            self.check_decode(batch)
        if self.scheduler.policy is prefill_first and self.waiting and (batch is None or batch.phase is Phase.DECODE):
            self.check_head_must_wait(0 if batch is None else batch.rows)
        if batch is not None:
            self.server.prepare(batch)
            self.check_slots(batch)
            self.in_flight.append(batch)

    @precondition(lambda self: self.in_flight)
    @rule(stopping=st.sets(st.integers(0, 4), max_size=3))
    def process(self, stopping: set[int]) -> None:
        """The oldest result comes back; the rows at these positions, late ones too, sampled their stop token."""
        batch = self.in_flight.pop(0)
        stopped = tuple(r.id for i, r in enumerate(batch.members) if i in stopping)
        late = [r.id for r in batch.members if r.id in self.finished]
        received = [r for r in batch.members if r.id not in self.finished]
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
        assert outputs.first == tuple(r for r in received if self.delivered[r.id] == 1)
        assert sorted((r.id, n, why.value) for r, n, why in outputs.finished) == sorted(
            (number, n, why.value) for number, (n, why) in ended.items()
        )
        self.finished |= ended
        self.running = [r for r in self.running if r.id not in ended]
        self.num_executed += batch.rows
        self.num_late += outputs.late

    @precondition(lambda self: len(self.arrived) - len(self.finished) > 4)
    @rule()
    def drain(self) -> None:
        """Nobody stops any more: all that arrived ends by length at the latest, and leaves nothing behind."""
        for _ in range(2 * sum(r.max_tokens + 1 for r in self.arrived)):
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
        assert self.num_executed == sum(n for n, _ in self.finished.values()) + self.num_late
        assert (self.kv.num_free, self.slots.num_live) == (self.kv.num_blocks, 0)

    @invariant()
    def nothing_is_leaked_or_taken_too_early(self) -> None:
        computing = {r.id for batch in self.in_flight for r in batch.members}
        gone = {r.id for r in self.waiting} | self.finished.keys() - computing
        living = [r for r in self.arrived if r.id not in gone]
        blocks = [block for r in living for block in self.kv.table(r.id)]
        assert len(set(blocks)) == len(blocks) == self.kv.num_blocks - self.kv.num_free
        if self.scheduler.foresee_length or self.ahead < 2:  # room for one row beyond the longest output is reserved
            assert all(len(self.kv.table(r.id)) * PAGE >= self.tokens(r) - 1 for r in living)
        steps = {b.index: b for batch in self.in_flight for b in (batch, *self.feeders[batch.index])}
        assert all(self.slots.slots(index) == batch.slots for index, batch in steps.items())
        slots = [slot for batch in steps.values() for slot in batch.slots or ()]
        assert len(set(slots)) == len(slots) == self.slots.num_live
        if self.ahead == 0:
            assert self.num_late == 0

    def tokens(self, request: Request) -> int:
        """Tokens that attention reads in the next row of a request, its new one included."""
        return request.context + self.sampled[request.id] + request.computed

    def admit(self) -> list[Request]:
        """Compare who still waits; computed requests run at once, the prompts that left are returned."""
        still = {r.id for r in self.scheduler.waiting}
        left = [r for r in self.waiting if r.id not in still]
        self.waiting = [r for r in self.waiting if r.id in still]
        assert self.waiting == list(self.scheduler.waiting)
        if self.scheduler.policy is not shortest_first:
            assert self.waiting == self.arrived[len(self.arrived) - len(self.waiting) :], "a request was overtaken"
        self.running += [r for r in left if r.computed]
        assert len(self.running) <= self.scheduler.max_rows
        return [r for r in left if not r.computed]

    def check_prefill(self, batch: Batch, prompts: list[Request]) -> None:
        assert sorted(r.id for r in batch.members) == [r.id for r in prompts]
        assert batch.rows == len(prompts) <= self.scheduler.max_rows - len(self.running)
        assert batch.tokens == sum(chunk.tokens for chunk in batch.prompts)
        assert batch.prompts == tuple(Chunk(r, 0, r.context, 1) for r in batch.members)
        assert batch.tokens <= self.scheduler.token_budget or batch.rows == 1
        assert (batch.joined, batch.counter) == ((), 0)
        assert batch.finishing == tuple(r for r in batch.members if r.max_tokens == 1)
        self.sampled.update(r.id for r in batch.members)
        self.running += [r for r in batch.members if r.max_tokens > 1]

    def check_decode(self, batch: Batch) -> None:
        assert batch.members == tuple(self.running)
        assert batch.rows == batch.tokens == len(self.running) <= self.scheduler.max_rows
        assert batch.decode_context == sum(self.tokens(r) for r in self.running)
        assert batch.joined == tuple(r for r in self.running if self.sampled[r.id] == 1 - r.computed)
        self.sampled.update(r.id for r in batch.members)
        ending = [r for r in self.running if self.sampled[r.id] == r.max_tokens]
        assert sorted(r.id for r in batch.finishing) == sorted(r.id for r in ending)
        if self.scheduler.foresee_length:
            self.running = [r for r in self.running if r not in ending]

    def check_head_must_wait(self, num_rows: int) -> None:
        """Nobody waits for prefill_first while there are a row and blocks."""
        head = self.waiting[0]
        fits = self.kv.can_allocate(head.context + head.max_tokens + 1)
        assert num_rows == self.scheduler.max_rows or not fits

    def check_slots(self, batch: Batch) -> None:
        """Each row reads the newest step in flight that computes it; no step reads another's slots."""
        decode = batch.phase is Phase.DECODE
        assert batch.bucket == next((size for size in (1, 2, 4) if decode and size >= batch.rows), None)
        assert len(batch.slots or ()) == batch.rows
        feeders = [b for b in self.in_flight if decode and b.slots in batch.sources]
        assert tuple(b.slots for b in feeders) == batch.sources
        for request in batch.members if decode else ():
            computing = [b for b in self.in_flight if request in b.members]
            assert not computing or computing[-1] in feeders
        self.feeders[batch.index] = feeders

    def check_overrun(self, request: Request) -> None:
        """An end by length that just came back: rows in flight beyond it are all that were launched, or none."""
        overrun = sum(request in batch.members for batch in self.in_flight)
        decodes = request.computed or request.max_tokens > 1
        if self.scheduler.foresee_length or not decodes:
            assert overrun == 0
        else:
            assert overrun == sum(batch.phase is Phase.DECODE for batch in self.in_flight) <= self.ahead


AnyServer.TestCase.settings = settings(deadline=None, max_examples=100, stateful_step_count=50)
TestAnyServer = AnyServer.TestCase
