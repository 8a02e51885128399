"""A server driven at random, step by step: arrivals, results, late stops, and clients who leave, in any order."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.check.ledger import Where
from sim.check.strategies.worlds import begun
from sim.check.watch import Watch
from sim.serving.batch import Batch, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import RequestSlots, SlotRing
from sim.serving.kv_cache import KVCache
from sim.serving.policies import POLICIES, Budget, Plan, Queues
from sim.serving.prefix_cache import PrefixCache
from sim.serving.request import HASH_TOKENS, Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server
from sim.serving.waiting import ORDERINGS

BLOCK = 4
PREFIX_BLOCK = HASH_TOKENS // 2
"""Tokens of a block where prompts share what they begin with: two blocks a hash."""


class AnyPlan:
    """Any plan that its budget allows, drawn by a seed: prompts in any order and pieces, with decode rows or not."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def __call__(self, queues: Queues, budget: Budget) -> Plan:
        """The next step; some of those who are there are left out."""
        decode = bool(queues.num_running) and self._random.random() < 0.7
        tokens = budget.tokens - (queues.num_running if decode else 0)
        rows, blocks = budget.rows, budget.blocks
        begun = [(request, False) for request in queues.partial]
        fresh = [(request, True) for request in queues.waiting if queues.left(request)]
        chosen: list[tuple[Request, int]] = []
        for request, new in self._random.sample([*begun, *fresh], len(begun) + len(fresh)):
            left, need = queues.left(request), queues.blocks(request) if new else 0
            alone = not (chosen or decode or budget.chunked)  # a prompt above the budget that is not cut goes alone
            if (new and (rows < 1 or need > blocks)) or (tokens < (1 if budget.chunked else left) and not alone):
                continue
            if chosen and self._random.random() < 0.2:
                continue
            count = self._random.randint(1, min(left, tokens)) if budget.chunked else left
            chosen.append((request, count))
            tokens, rows, blocks = tokens - count, rows - new, blocks - need
        return Plan(tuple(chosen), decode=decode or not chosen)


class AnyServer(RuleBasedStateMachine):
    """Up to ``ahead`` steps are in flight when the next is scheduled; a watch holds everything against its books.

    Run it as a test: ``TestServer = AnyServer.TestCase``. To attack a scheduler of your own, override ``scheduler``.
    """

    def scheduler(self, kv: KVCache, **knobs: Any) -> Scheduler:
        """The scheduler that is attacked."""
        return Scheduler(kv, **knobs)

    @initialize(
        ahead=st.integers(0, 3),
        policy=st.sampled_from((*sorted(POLICIES), "any")),
        waiting=st.sampled_from(("fcfs", *sorted(ORDERINGS))),
        foresee_length=st.booleans(),
        chunked=st.booleans(),
        num_blocks=st.integers(7, 20),
        max_rows=st.integers(1, 5),
        token_budget=st.integers(1, 40),
        prefixes=st.booleans(),
        ring=st.booleans(),
        grow=st.booleans(),
        watermark=st.sampled_from((0.0, 0.2)),
        seed=st.integers(0, 99),
    )
    def start(
        self, *, ahead: int, policy: str, waiting: str, chunked: bool, num_blocks: int, max_rows: int,
        token_budget: int, prefixes: bool, ring: bool, seed: int, **knobs: Any,
    ) -> None:  # fmt: skip
        """An empty server."""
        self.ahead = ahead
        self.policy = policy
        self.prefixes = prefixes
        token_budget = token_budget * PREFIX_BLOCK // 3 if prefixes else token_budget
        scheduler = self.scheduler(
            PrefixCache(num_blocks, PREFIX_BLOCK) if prefixes else KVCache(num_blocks, BLOCK),
            policy=POLICIES[policy] if policy in POLICIES else AnyPlan(seed),
            waiting=ORDERINGS[waiting](),
            max_rows=max_rows,
            token_budget=max(token_budget, max_rows) if policy in ("mixed", "any") else token_budget,
            chunked=chunked,
            **knobs,
        )
        # live at most: the new step, those in flight before it, and as many that the oldest of them reads
        slots = SlotRing((2 * ahead + 2) * max_rows - 1) if ring else RequestSlots(max_rows * (2 + ahead))
        self.server = Watch(Server(scheduler, Buckets([1, 2, 4]), slots), None if policy == "any" else 3)
        self.in_flight: list[Batch] = []
        self.arrived = 0
        self.leaving: set[int] = set()

    @rule(
        shapes=st.lists(
            st.tuples(st.integers(1, 20), st.integers(1, 6), st.booleans(), st.integers(0, 7)), min_size=1, max_size=4
        ),
        alike=st.booleans(),
    )
    def arrive(self, shapes: list[tuple[int, int, bool, int]], *, alike: bool) -> None:
        """Requests come: with a prompt to compute, or with one that was computed elsewhere; some begin alike.

        If all are ``alike``, they fill their blocks at once.
        """
        requests = []
        shapes = [shapes[0]] * len(shapes) if alike else shapes
        for number, (size, max_tokens, computed, path) in enumerate(shapes, self.arrived):
            # up to 3 hashes, and a rest that is nobody else's, or none
            hashes = begun(path, size % 4) if self.prefixes else ()
            context = HASH_TOKENS * len(hashes) + size % 5 if hashes else size
            requests.append(Request(number, context, max_tokens, computed=computed, hashes=hashes))
        self.server.add(tuple(requests))
        self.arrived += len(shapes)

    @precondition(lambda self: len(self.in_flight) <= self.ahead)
    @rule()
    def schedule(self) -> None:
        """The next step is built and its slots are named."""
        others = bool(self.server.ledger.holding)
        batch = self.server.schedule()
        if batch is not None:
            self.server.prepare(batch)
            self.in_flight.append(batch)
            self.nobody_waits_for_nothing(batch, others=others)

    @precondition(lambda self: self.in_flight and len(self.in_flight) <= self.ahead and self.in_flight[-1].decode_rows)
    @rule()
    def schedule_again(self) -> None:
        """One decode step more without a look at the queue, as a loop of several steps does."""
        batch = self.server.again()
        if batch is not None:
            self.in_flight.append(batch)

    @precondition(lambda self: self.in_flight)
    @rule(stopping=st.sets(st.integers(0, 4), max_size=3))
    def process(self, stopping: set[int]) -> None:
        """The oldest result comes back; the rows at these positions, late ones too, sampled their stop token."""
        batch = self.in_flight.pop(0)
        partial = {chunk.request.id for chunk in batch.prompts if not chunk.output}
        rows = [r.id for r in batch.members if r.id not in partial]
        stopped = {n for i, n in enumerate(rows) if i in stopping} | (self.leaving & set(rows))
        self.server.process(batch, StepResult(0, tuple(sorted(stopped))))

    @precondition(lambda self: self.live)
    @rule(steps=st.integers(2, 8))
    def go_on(self, steps: int) -> None:
        """So many rounds without anything new, as a loop makes them: schedule, and process what is too many."""
        for _ in range(steps):
            if len(self.in_flight) <= self.ahead:
                self.schedule()
            if len(self.in_flight) > self.ahead:
                self.process(set())

    @precondition(lambda self: self.live)
    @rule(who=st.integers(0, 30))
    def stop_early(self, who: int) -> None:
        """The next token that a request gets is its stop token, whenever that is."""
        self.leaving.add(self.live[who % len(self.live)])

    @precondition(lambda self: self.live)
    @rule(who=st.integers(0, 30))
    def cancel(self, who: int) -> None:
        """A client has gone: its request waits, has its prompt computed, or decodes."""
        self.server.cancel(self.live[who % len(self.live)])

    @precondition(lambda self: len(self.live) > 4)
    @rule()
    def drain(self) -> None:
        """Nobody comes or stops any more: all that arrived ends by length at the latest, and leaves nothing behind."""
        for _ in range(200 * (self.arrived + 1)):
            if self.server.idle:
                break
            if len(self.in_flight) <= self.ahead:
                self.schedule()
            if self.in_flight:
                self.process(set())
        assert self.server.idle, "requests are left, however often the server is asked"
        self.server.at_rest()

    @property
    def live(self) -> list[int]:
        """Requests that have not ended, those that hold blocks first."""
        accounts = self.server.ledger.accounts.values()
        return [a.request.id for a in sorted(accounts, key=lambda a: a.where is Where.WAITING) if not a.over]

    @invariant()
    def no_more_is_in_flight_than_was_scheduled(self) -> None:
        """The scheduler's own list is the list of those that were handed out and have not come back."""
        if hasattr(self, "server"):
            assert list(self.server.scheduler.in_flight) == self.in_flight

    def nobody_waits_for_nothing(self, batch: Batch, *, others: bool) -> None:
        """A policy that looks at the queue in every step admits its head while there are a row, blocks and tokens."""
        scheduler, ledger = self.server.scheduler, self.server.ledger
        if self.policy not in ("mixed", "prefill-first") or batch.prompts or batch.preempted or batch.finishing:
            return
        if not scheduler.waiting:
            return
        head = scheduler.waiting[0]
        work = sum(a.where in (Where.PROMPT, Where.DECODING) for a in ledger.accounts.values())
        spare = scheduler.watermark if scheduler.grow and (others or batch.admitted) else 0
        full = work >= scheduler.max_rows or scheduler.blocks(head) > scheduler.kv.num_free - spare
        assert full or (self.policy == "mixed" and batch.decode_rows >= scheduler.token_budget)
