"""A server under watch: after everything it does, its books are compared with books kept anew."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

from sim.check.invariant import BrokenError, Violation
from sim.check.ledger import Complaint, Ledger, Where
from sim.serving.batch import Batch, Outputs, Phase, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import RequestSlots, SlotRing
from sim.serving.policies import Budget, Plan, Policy, Queues
from sim.serving.request import Request
from sim.serving.server import Server
from sim.serving.waiting import ArrivalOrder, ShortestFirst

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
        self._policy: Policy = self.scheduler.policy
        self._patience = patience
        self._overtaken: dict[int, set[int]] = {}
        self._in_turn = True  # every plan took from the front of its queue
        self._readers: dict[int, set[int]] = {}  # of a step's slots: steps in flight that read them
        self.scheduler.policy = self._plan

    def add(self, requests: tuple[Request, ...]) -> None:
        """Queue arrivals."""
        self.ledger.arrived(requests)
        super().add(requests)

    def schedule(self) -> Batch | None:
        """The next batch."""
        return self._watched(self.scheduler.schedule())

    def again(self) -> Batch | None:
        """The decode batch after the last one."""
        batch = self._watched(self.scheduler.schedule(admit=False))
        if batch is not None:
            self.prepare(batch)
        return batch

    def prepare(self, batch: Batch) -> None:
        """Choose bucket and slots."""
        super().prepare(batch)
        self._complain(self._bucket(batch))
        self._complain(self._slots(batch))

    def process(self, batch: Batch, result: StepResult) -> Outputs:
        """Digest a result."""
        outputs = super().process(batch, result)
        self._complain(self.ledger.processed(batch, result, outputs))
        self._complain(self._returned(outputs.freed))
        self._complain(self._blocks())
        self._complain(self._live_slots())
        return outputs

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

    def _watched(self, batch: Batch | None) -> Batch | None:
        if batch is None:
            if not self.scheduler.in_flight and not self.idle:
                waiting = [r.id for r in self.scheduler.waiting]
                self._complain([("progress", f"nothing is scheduled, nothing is in flight, and {waiting} wait")])
            return None
        self.batches.append(batch)
        self._complain(self.ledger.scheduled(batch))
        self._complain(self._limits(batch))
        self._complain(self._blocks())
        return batch

    def _plan(self, queues: Queues, budget: Budget) -> Plan:
        waiting = tuple(queues.waiting)
        self._complain(self._queue(waiting, queues))
        plan = self._policy(queues, budget)
        chosen = {r.id for r, _ in plan.prompts}
        taken = [r.id in chosen for r in waiting]
        self._in_turn &= taken == sorted(taken, reverse=True)
        self._complain(self._in_budget(plan, queues, budget))
        self._complain(self._fair(plan, queues, budget, waiting))
        return plan

    def _in_budget(self, plan: Plan, queues: Queues, budget: Budget) -> Iterable[Complaint]:
        partial = {r.id for r in queues.partial}
        waiting = {r.id for r in queues.waiting}
        chosen = [r.id for r, _ in plan.prompts]
        for number in sorted(set(chosen)):
            if chosen.count(number) > 1:
                yield "plan-in-budget", f"the policy chose request {number} {chosen.count(number)} times"
        for request, tokens in plan.prompts:
            if request.id not in partial | waiting:
                yield "plan-in-budget", f"the policy chose request {request.id}, which has no prompt to compute"
                continue
            left = queues.left(request)
            if not (1 if budget.chunked else left) <= tokens <= left or not left:
                told = f"the policy chose {tokens} tokens of request {request.id}, which has {left} left"
                yield "plan-in-budget", told + ("" if budget.chunked else " and is not cut")
        fresh = [r for r, _ in plan.prompts if r.id in waiting]
        tokens = sum(count for _, count in plan.prompts)
        rows = queues.num_running if plan.decode else 0
        if plan.prompts and tokens + rows > budget.tokens and (budget.chunked or len(plan.prompts) > 1):
            with_rows = f" beside {rows} decode rows" if rows else ""
            yield "plan-in-budget", f"the policy chose {tokens} tokens{with_rows}, the budget is {budget.tokens}"
        if len(fresh) > budget.rows:
            yield "plan-in-budget", f"the policy chose {len(fresh)} new requests, the budget is {budget.rows} rows"
        need = sum(queues.blocks(r) for r in fresh)
        if need > budget.blocks:
            yield "plan-in-budget", f"the policy chose requests that need {need} blocks, the budget is {budget.blocks}"
        if not plan.prompts and not (plan.decode and queues.num_running) and not self.scheduler.in_flight:
            yield (
                "progress",
                f"the policy chose nothing, though {sorted(partial | waiting)} wait and nothing is in flight",
            )

    def _queue(self, waiting: tuple[Request, ...], queues: Queues) -> Iterable[Complaint]:
        """Requests stand in order of arrival, or of what is left to compute.

        Once a policy has taken one out of its turn, those that lose their blocks come back to other places.
        """
        accounts = self.ledger.accounts
        known = [r for r in waiting if accounts[r.id].where is Where.WAITING]
        fresh = known if self._in_turn else [r for r in known if not accounts[r.id].preempted]
        if isinstance(self.scheduler.waiting, ArrivalOrder):
            come = {number: place for place, number in enumerate(accounts)}
            keys = [(come[r.id], 0, 0) for r in fresh]
        else:
            shortest = isinstance(self.scheduler.waiting, ShortestFirst)
            keys = [(queues.left(r), r.arrival, r.id) for r in fresh] if shortest else []
        for (request, key), (after, other) in pairwise(zip(fresh, keys, strict=False)):
            if other < key:
                yield "queue-order", f"request {request.id} stands before request {after.id} in the queue"

    def _fair(self, plan: Plan, queues: Queues, budget: Budget, waiting: tuple[Request, ...]) -> Iterable[Complaint]:
        """Who stands further back in the queue, as the policy was shown it, overtakes by going first."""
        if self._patience is None or not plan.prompts:
            return
        chosen = {r.id for r, _ in plan.prompts}
        for place, request in enumerate(waiting):
            if request.id in chosen or request.computed:
                continue
            overtaken = self._overtaken.setdefault(request.id, set())
            if queues.blocks(request) <= budget.blocks and budget.rows > 0:
                overtaken |= {r.id for r in waiting[place:] if r.id in chosen}
            if len(overtaken) > self._patience:
                by = sorted(overtaken)
                yield "no-starvation", f"request {request.id} still waits, though it fits and {by} came later and went"

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

    def _blocks(self) -> Iterable[Complaint]:
        kv = self.scheduler.kv
        owner: dict[int, int] = {}
        for account in self.ledger.holding:
            number = account.request.id
            try:
                table = kv.table(number)
            except KeyError:
                yield "kv-use-after-free", f"request {number} is computed and holds no blocks"
                continue
            for block in table:
                if block in owner:
                    yield "kv-one-owner", f"block {block} belongs to requests {owner[block]} and {number}"
                if not 0 <= block < kv.num_blocks:
                    yield "kv-budget", f"request {number} holds block {block} of {kv.num_blocks}"
                owner[block] = number
            kept = min(account.produced, account.request.max_tokens + self.scheduler.late_rows)  # rows that have room
            written = account.request.context + max(0, kept - 1 + account.request.computed)
            written = account.done if account.where is Where.PROMPT else written
            if len(table) * kv.block_tokens < written and account.where is not Where.LEFT:
                yield "kv-budget", f"request {number} has {written} tokens in {len(table)} blocks of {kv.block_tokens}"
        if kv.num_free + len(owner) != kv.num_blocks:
            yield "kv-no-leak", f"{kv.num_free} blocks are free and {len(owner)} held, of {kv.num_blocks}"

    def _returned(self, freed: tuple[int, ...]) -> Iterable[Complaint]:
        for number in freed:
            with suppress(KeyError):
                table = self.scheduler.kv.table(number)
                yield "kv-freed-once", f"request {number} has returned its blocks and still holds {table}"

    def _slots(self, batch: Batch) -> Iterable[Complaint]:
        if self.slots is None:
            return
        slots = tuple(batch.slots or ())
        if len(slots) != batch.rows or len(set(slots)) != len(slots):
            yield "future-map-slots", f"step {batch.index} of {batch.rows} rows stores to slots {slots}"
        if any(not 0 <= slot < self.slots.capacity for slot in slots):
            yield "future-map-slots", f"step {batch.index} stores to slots {slots} of {self.slots.capacity}"
        flying = self.ledger.in_flight[:-1]
        if isinstance(self.slots, SlotRing):
            yield from self._ring(batch, slots, flying)
        else:
            yield from self._named_slots(batch, slots)

    def _ring(self, batch: Batch, slots: tuple[int, ...], flying: list[Batch]) -> Iterable[Complaint]:
        """Slots are nobody's who is in flight or read by who is; each row reads the step that last computed it."""
        live = {index for index in self._readers if self._readers[index]} | {b.index for b in flying}
        for other in self.batches[:-1]:
            if other.index in live and set(slots) & set(other.slots or ()):
                yield "future-map-reuse", f"step {batch.index} stores to slots of step {other.index}, which may be read"
        feeding = [b for b in flying if b.slots in batch.sources]
        for row in batch.members[: batch.decode_rows]:
            computing = [b for b in flying if row in b.members]
            if computing and computing[-1] not in feeding:
                told = f"step {batch.index} reads request {row.id} from no slot of step {computing[-1].index}"
                yield "future-map-written", told
        if len(feeding) != len(batch.sources):
            yield "future-map-written", f"step {batch.index} reads slots {batch.sources} that no step in flight writes"
        self._readers[batch.index] = set()
        for other in feeding:
            self._readers.setdefault(other.index, set()).add(batch.index)

    def _named_slots(self, batch: Batch, slots: tuple[int, ...]) -> Iterable[Complaint]:
        """A request keeps one slot, which is nobody else's."""
        assert isinstance(self.slots, RequestSlots)
        held: dict[int, int] = {}
        for account in self.ledger.holding:
            slot = self.slots.slot(account.request.id)
            if slot in held:
                yield "future-map-reuse", f"requests {held[slot]} and {account.request.id} have slot {slot}"
            held[slot] = account.request.id
        for row, slot in zip(batch.members, slots, strict=False):
            if held.get(slot) != row.id:
                yield "future-map-written", f"step {batch.index} stores request {row.id} to slot {slot}, not its own"

    def _live_slots(self) -> Iterable[Complaint]:
        if isinstance(self.slots, SlotRing):
            flying = {b.index for b in self.ledger.in_flight}
            self._readers = {index: readers & flying for index, readers in self._readers.items()}
            live = flying | {index for index, readers in self._readers.items() if readers}
            due = sum(b.rows for b in self.batches if b.index in live)
        elif self.slots is not None:
            due = len(self.ledger.holding)
        else:
            return
        if self.slots.num_live != due:
            yield "future-map-leak", f"{self.slots.num_live} slots are taken, {due} may still be read"

    def _leaks(self) -> Iterable[Complaint]:
        for account in self.ledger.accounts.values():
            if account.ended is None:
                yield "progress", f"request {account.request.id} never ended: it {account.where.value}"
        if self.scheduler.kv.num_free != self.scheduler.kv.num_blocks:
            taken = self.scheduler.kv.num_blocks - self.scheduler.kv.num_free
            yield "kv-no-leak", f"{taken} blocks are taken and nobody is there"
        if self.slots is not None and self.slots.num_live:
            yield "future-map-leak", f"{self.slots.num_live} slots are taken and nobody is there"
