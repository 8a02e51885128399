"""A server under watch: after everything it does, its books are compared with books kept anew."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

from sim.check.held import Blocks, Slots
from sim.check.invariant import BrokenError, Violation
from sim.check.ledger import Complaint, Ledger, Where
from sim.check.plans import Overtaking, in_budget
from sim.serving.batch import Batch, Outputs, Phase, StepResult
from sim.serving.buckets import Buckets
from sim.serving.policies import Budget, Plan, Policy, Queues
from sim.serving.prefix_cache import PrefixCache
from sim.serving.request import Request
from sim.serving.server import Server
from sim.serving.waiting import ArrivalOrder, LongestPrefixFirst, ShortestFirst

PATIENCE = 3
"""Requests that may overtake one that could have gone first, unless the policy says otherwise."""


class Watch(Server):
    """The same server, with the policy's plans, every batch, every output, blocks and slots held against a ledger.

    Raises ``BrokenError`` at once: a server that has broken its books cannot be trusted to go on. ``patience`` is how
    many requests may overtake one that fits, None for any number.
    """

    def __init__(self, server: Server, patience: int | None = PATIENCE) -> None:
        super().__init__(server.scheduler, server.buckets, server.slots, server.pieces)
        self.ledger = Ledger(foresee_length=self.scheduler.foresee_length)
        self.batches: list[Batch] = []
        self._blocks = Blocks(self.scheduler, self.ledger)
        self._slots_held = Slots(self.slots, self.ledger)
        self._overtaking = Overtaking(patience)
        self._policy: Policy = self.scheduler.policy
        self._plans: list[Plan] = []  # of the step that is being scheduled
        self._queue: list[int] = []  # who waits, as they came and came back
        self.scheduler.policy = self._plan

    def add(self, requests: tuple[Request, ...]) -> None:
        """Queue arrivals."""
        self.ledger.arrived(requests)
        self._queue += [r.id for r in requests]
        super().add(requests)

    def schedule(self) -> Batch | None:
        """The next batch."""
        return self._watched(admit=True)

    def again(self) -> Batch | None:
        """The decode batch after the last one."""
        batch = self._watched(admit=False)
        if batch is not None:
            self.prepare(batch)
        return batch

    def prepare(self, batch: Batch) -> None:
        """Choose bucket and slots."""
        super().prepare(batch)
        self._complain(self._bucket(batch))
        self._complain(self._slots_held.prepared(batch))

    def process(self, batch: Batch, result: StepResult) -> Outputs:
        """Digest a result."""
        outputs = super().process(batch, result)
        self._complain(self.ledger.processed(batch, result, outputs))
        self._complain(self._held(outputs.freed))
        return outputs

    def cancel(self, request: int) -> None:
        """A client has gone."""
        super().cancel(request)
        if request in self._queue:
            self._queue.remove(request)
        self.ledger.cancelled(request)
        self._complain(self._held(() if self.ledger.computing(request) else (request,)))

    def quiet_steps(self, stop: int | None) -> int:
        """None are skipped: each is watched."""
        del stop
        return 0

    def at_rest(self) -> None:
        """Everything that arrived has ended, and nothing is held any more; raises ``BrokenError`` otherwise."""
        self._complain(self._leaks())

    def _complain(self, complaints: Iterable[Complaint]) -> None:
        found = [Violation(name, sentence) for name, sentence in complaints]
        if found:
            raise BrokenError(found)

    def _watched(self, *, admit: bool) -> Batch | None:
        self._plans = []
        self._blocks.note()
        batch = self.scheduler.schedule(admit=admit)
        asked = self._plans[1:] if batch is not None and batch.preempted else self._plans
        plan = asked[-1] if asked else Plan()
        if batch is None:
            self._complain(self._nothing(plan))
            return None
        self.batches.append(batch)
        self._complain(self.ledger.scheduled(batch, plan))
        self._complain(self._waiting(batch))
        self._complain(self._limits(batch))
        self._complain(self._blocks.scheduled(batch))
        self._complain(self._blocks.found())
        return batch

    def _plan(self, queues: Queues, budget: Budget) -> Plan:
        waiting = tuple(queues.waiting)
        plan = self._policy(queues, budget)
        self._plans.append(plan)
        self._complain(in_budget(plan, queues, budget, flying=bool(self.scheduler.in_flight)))
        self._complain(self._overtaking.found(plan, queues, budget, waiting))
        return plan

    def _nothing(self, plan: Plan) -> Iterable[Complaint]:
        """No step is due while the policy waits for results, or rows for blocks that results may return."""
        if not self.scheduler.in_flight and not self.idle:
            waiting = [r.id for r in self.scheduler.waiting]
            yield "progress", f"nothing is scheduled, nothing is in flight, and requests {waiting} wait"
        if self.ledger.running and plan.decode and not (self.scheduler.grow and self.scheduler.in_flight):
            yield "progress", f"nothing is scheduled, though requests {self.ledger.running} run"

    def _waiting(self, batch: Batch) -> Iterable[Complaint]:
        """Those who wait stand as they came, those that lost their blocks before them; or by what is left to compute.

        What a prefix cache knows of their prompts may have changed since, and with it what their order would be.
        """
        admitted = {r.id for r in batch.admitted}
        self._queue = [number for number in (*(r.id for r in batch.preempted), *self._queue) if number not in admitted]
        queue = self.scheduler.waiting
        found = [r.id for r in queue]
        if sorted(found) != sorted(self._queue):
            yield "queue-order", f"the queue holds requests {sorted(found)}, those who wait are {sorted(self._queue)}"
        elif isinstance(queue, ArrivalOrder):
            cached = {r.id: self.scheduler.cached(r) for r in queue} if isinstance(queue, LongestPrefixFirst) else {}
            due = sorted(self._queue[: LongestPrefixFirst.CONSIDERED], key=lambda number: -cached.get(number, 0))
            due += self._queue[LongestPrefixFirst.CONSIDERED :]
            if found != due:
                yield "queue-order", f"the queue shows requests {found}, their order is {due}"
        elif isinstance(queue, ShortestFirst) and not isinstance(self.scheduler.kv, PrefixCache):
            keys = [(self.scheduler.left(r), r.arrival, r.id) for r in queue]
            for (request, key), (after, other) in pairwise(zip(found, keys, strict=True)):
                if other < key:
                    yield "queue-order", f"request {request} stands before request {after} in the queue"

    def _limits(self, batch: Batch) -> Iterable[Complaint]:
        scheduler = self.scheduler
        held = sum(a.where in (Where.PROMPT, Where.DECODING) for a in self.ledger.accounts.values())
        if max(held, batch.rows) > scheduler.max_rows:
            yield (
                "batch-budgets",
                f"step {batch.index} has {batch.rows} rows of {held} requests, of {scheduler.max_rows}",
            )
        over = batch.prompts and batch.tokens > scheduler.token_budget
        if over and (scheduler.chunked or len(batch.prompts) > 1):
            yield "batch-budgets", f"step {batch.index} computes {batch.tokens} tokens of {scheduler.token_budget}"

    def _bucket(self, batch: Batch) -> Iterable[Complaint]:
        """Decode rows have graphs of so many rows, steps with prompts graphs in pieces of so many tokens."""
        yield from self._padded(self.buckets if batch.phase is Phase.DECODE else None, batch, batch.rows, batch.bucket)
        yield from self._padded(self.pieces if batch.prompts else None, batch, batch.tokens, batch.pieces)

    @staticmethod
    def _padded(graphs: Buckets | None, batch: Batch, size: int, found: int | None) -> Iterable[Complaint]:
        sizes = () if graphs is None else graphs.sizes
        padded = graphs is not None and graphs.pad
        fitting = min((n for n in sizes if n == size or (padded and n > size)), default=None)
        if found != fitting:
            yield "padding-to-a-bucket", f"step {batch.index} of size {size} runs with {found} of {sizes}"

    def _held(self, freed: tuple[int, ...]) -> Iterable[Complaint]:
        """Nobody holds what has been returned; everybody else holds what is due."""
        for number in freed:
            with suppress(KeyError):
                table = self.scheduler.kv.table(number)
                yield "kv-freed-once", f"request {number} has returned its blocks and still holds {table}"
        yield from self._blocks.found()
        yield from self._slots_held.found()

    def _leaks(self) -> Iterable[Complaint]:
        for account in self.ledger.accounts.values():
            if not account.over:
                yield "progress", f"request {account.request.id} never ended: it {account.where.value}"
        if self.scheduler.kv.num_free != self.scheduler.kv.num_blocks:
            taken = self.scheduler.kv.num_blocks - self.scheduler.kv.num_free
            yield "kv-no-leak", f"{taken} blocks are taken and nobody is there"
        if self.slots is not None and self.slots.num_live:
            yield "future-map-leak", f"{self.slots.num_live} slots are taken and nobody is there"
