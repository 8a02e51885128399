"""A server driven at random, step by step: arrivals, results, late stops, and clients who leave, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.check.watch import Watch
from sim.serving.batch import Batch, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import RequestSlots, SlotRing
from sim.serving.kv_cache import KVCache
from sim.serving.policies import POLICIES
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server

BLOCK = 4
LONGEST = 26
"""Prompt and output of a request at most: what the smallest cache still holds."""


class AnyServer(RuleBasedStateMachine):
    """Up to ``ahead`` steps are in flight when the next is scheduled; a watch holds everything against its books.

    Run it as a test: ``TestServer = AnyServer.TestCase``. To attack a scheduler of your own, override ``scheduler``.
    """

    def scheduler(self, kv: KVCache, **knobs: Any) -> Scheduler:
        """The scheduler that is attacked."""
        return Scheduler(kv, **knobs)

    @initialize(
        ahead=st.integers(0, 3),
        policy=st.sampled_from(sorted(POLICIES)),
        foresee_length=st.booleans(),
        chunked=st.booleans(),
        num_blocks=st.integers(7, 20),
        max_rows=st.integers(1, 5),
        token_budget=st.integers(1, 40),
        ring=st.booleans(),
        grow=st.booleans(),
        watermark=st.sampled_from((0.0, 0.2)),
    )
    def start(
        self, *, ahead: int, policy: str, foresee_length: bool, chunked: bool, num_blocks: int, max_rows: int,
        token_budget: int, ring: bool, grow: bool, watermark: float,
    ) -> None:  # fmt: skip
        """An empty server."""
        self.ahead = ahead
        scheduler = self.scheduler(
            KVCache(num_blocks, BLOCK),
            policy=POLICIES[policy],
            max_rows=max_rows,
            token_budget=max(token_budget, max_rows) if policy == "mixed" else token_budget,
            chunked=chunked,
            foresee_length=foresee_length,
            grow=grow,
            watermark=watermark,
        )
        # live at most: the new step, those in flight before it, and as many that the oldest of them reads
        slots = SlotRing((2 * ahead + 2) * max_rows - 1) if ring else RequestSlots(max_rows * (2 + ahead))
        self.server = Watch(Server(scheduler, Buckets([1, 2, 4]), slots))
        self.in_flight: list[Batch] = []
        self.arrived = 0
        self.leaving: set[int] = set()

    @rule(
        shapes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 6), st.booleans()), min_size=1, max_size=4),
    )
    def arrive(self, shapes: list[tuple[int, int, bool]]) -> None:
        """Requests come: with a prompt to compute, or with one that was computed elsewhere."""
        self.server.add(
            tuple(
                Request(self.arrived + i, context, max_tokens, computed=computed)
                for i, (context, max_tokens, computed) in enumerate(shapes)
            )
        )
        self.arrived += len(shapes)

    @precondition(lambda self: len(self.in_flight) <= self.ahead)
    @rule()
    def schedule(self) -> None:
        """The next step is built and its slots are named."""
        batch = self.server.schedule()
        if batch is not None:
            self.server.prepare(batch)
            self.in_flight.append(batch)

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

    @precondition(lambda self: self.arrived > 0)
    @rule(who=st.integers(0, 30))
    def leave(self, who: int) -> None:
        """A client has gone, before or after its request came to its turn: the next token that it gets is its last."""
        self.leaving.add(who % self.arrived)

    @precondition(lambda self: self.arrived > 0)
    @rule()
    def drain(self) -> None:
        """Nobody comes or stops any more: all that arrived ends by length at the latest, and leaves nothing behind."""
        for _ in range(40 * (self.arrived + 1)):
            if self.server.idle:
                break
            if len(self.in_flight) <= self.ahead:
                self.schedule()
            if self.in_flight:
                self.process(set())
        assert self.server.idle, "requests are left, however often the server is asked"
        self.server.at_rest()

    @invariant()
    def no_more_is_in_flight_than_was_scheduled(self) -> None:
        """The scheduler's own list is the list of those that were handed out and have not come back."""
        if hasattr(self, "server"):
            assert list(self.server.scheduler.in_flight) == self.in_flight
