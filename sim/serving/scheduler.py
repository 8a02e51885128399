"""Continuous batching: which requests the next step computes, and what its result means for them.

A step costs time in proportion to what changes, not to the rows: running rows advance by one shared counter, ends by
length wait in a table keyed by that counter, and a stop is looked up only when a result names it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from sim.serving.batch import Batch, Outputs, Phase, StepResult
from sim.serving.kv_cache import KVCache
from sim.serving.policies import Budget, Policy, prefill_first
from sim.serving.request import Reason, Request


@dataclass(eq=False, slots=True)
class _Row:
    """A request that holds KV blocks.

    ``before`` counts its tokens when it joined; it computes one more in each decode batch whose counter lies in
    ``joined + 1 .. left`` (``left`` follows the scheduler's counter while it runs).
    """

    request: Request
    before: int = 0
    joined: int = 0
    left: int = 0
    finished: bool = False


class Scheduler:
    """Builds batches and digests results, any number of batches ahead.

    ``foresee_length`` takes a row out of the batch after the one that produces its last token by length, since that
    is known in advance; without it, the end is seen when the result is processed, and rows already launched are
    late. A stop token is always seen when processed. ``max_rows`` bounds the decode batch, ``prefill_tokens`` the
    prompt tokens of one prefill step. Prefill steps compute whole prompts and no decode rows.
    """

    def __init__(
        self,
        kv: KVCache,
        *,
        policy: Policy = prefill_first,
        max_rows: int = 256,
        prefill_tokens: int = 8192,
        foresee_length: bool = True,
    ) -> None:
        if max_rows < 1 or prefill_tokens < 1:
            raise ValueError(
                f"a scheduler needs max_rows and prefill_tokens of at least 1, got {max_rows} and {prefill_tokens}"
            )
        self.kv = kv
        self.policy = policy
        self.max_rows = max_rows
        self.prefill_tokens = prefill_tokens
        self.foresee_length = foresee_length
        self.waiting: deque[Request] = deque()
        self.in_flight: deque[Batch] = deque()
        self._rows: dict[int, _Row] = {}
        self._running: dict[int, _Row] = {}
        self._members: tuple[Request, ...] | None = None
        self._joined: list[_Row] = []
        self._ends: dict[int, list[_Row]] = {}
        self._counter = 0
        self._context = 0
        self._index = 0
        self._freed_with: dict[int, list[_Row]] = {}

    @property
    def num_running(self) -> int:
        """Rows of the next decode batch as far as is known."""
        return len(self._running)

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is in flight."""
        return not (self.waiting or self._running or self.in_flight)

    def add(self, requests: tuple[Request, ...]) -> None:
        """Queue arrivals; raises ``ValueError`` for one that can never fit into the KV cache."""
        for request in requests:
            need = request.context + request.max_tokens + 1
            if self.kv.blocks_for(need) > self.kv.num_blocks:
                raise ValueError(
                    f"request {request.id} needs {need} tokens of KV cache, "
                    f"which holds {self.kv.num_blocks * self.kv.page}"
                )
            self.waiting.append(request)

    def schedule(self, *, admit: bool = True) -> Batch | None:
        """The next batch, or None when there is nothing to compute before a result comes back.

        Without ``admit`` those who wait go on waiting: the rows that run decode once more.
        """
        if not admit:
            return self._decode() if self._running else None
        self._admit_computed()
        budget = Budget(
            self.prefill_tokens, self.max_rows - len(self._running), self.kv.num_free * self.kv.page, self.kv.page
        )
        chosen = list(self.policy(self.waiting, len(self._running), budget)) if self.waiting else []
        if chosen:
            return self._prefill(chosen, budget)
        return self._decode() if self._running else None

    def process(self, batch: Batch, result: StepResult) -> Outputs:
        """Digest a result: batches come back in the order in which they were scheduled."""
        if not self.in_flight or self.in_flight[0] is not batch:
            raise ValueError(f"batch {batch.index} is not the oldest in flight")
        self.in_flight.popleft()
        finished: list[tuple[Request, int, Reason]] = []
        for number in result.stopped:
            row = self._rows[number]
            if not row.finished:
                finished.append(self._finish(row, batch, Reason.STOP))
        for request in batch.finishing:
            row = self._rows[request.id]
            if not row.finished:
                finished.append(self._finish(row, batch, Reason.LENGTH))
        freed = tuple(row.request.id for row in self._freed_with.pop(batch.index, ()))
        for number in freed:
            self.kv.free(number)
            del self._rows[number]
        first = batch.members if batch.phase is Phase.PREFILL else tuple(r for r in batch.joined if r.computed)
        late = len(batch.late)
        return Outputs(batch, batch.rows - late, first, tuple(finished), late, freed)

    def quiet_steps(self, stop: int | None) -> int:
        """How many of the next batches are the last one again, one token further, with nothing to tell in any result.

        That needs an empty queue, so no policy is asked; ``stop`` is the number of the decode batch in which the next
        request stops.
        """
        members = self._members
        if self.waiting or self._joined or self._freed_with or members is None:
            return 0
        if any(b.members is not members or b.finishing or b.joined or b.late for b in self.in_flight):
            return 0
        oldest = self.in_flight[0].counter if self.in_flight else self._counter + 1
        quiet = min(self._ends, default=0) - self._counter - 1
        return max(0, quiet if stop is None else min(quiet, stop - oldest))

    def advance(self, steps: int) -> None:
        """Schedule and process so many quiet batches; those in flight become the last of them."""
        assert self._members is not None
        rows = len(self._members)
        self._counter += steps
        self._index += steps
        self._context += steps * rows
        for batch in self.in_flight:
            batch.index += steps
            batch.counter += steps
            batch.context += steps * rows

    def _admit_computed(self) -> None:
        while self.waiting and self.waiting[0].computed and len(self._running) < self.max_rows:
            request = self.waiting[0]
            if not self.kv.can_allocate(request.context + request.max_tokens + 1):
                return
            self.waiting.popleft()
            self._join(self._admit(request))

    def _admit(self, request: Request) -> _Row:
        self.kv.allocate(request.id, request.context + request.max_tokens + 1)
        row = self._rows[request.id] = _Row(request)
        return row

    def _join(self, row: _Row) -> None:
        """Add a row to the decode batch from the next one on."""
        remaining = row.request.max_tokens - row.before
        row.joined = self._counter
        self._running[row.request.id] = row
        self._joined.append(row)
        self._members = None
        self._context += row.request.context + 1
        self._ends.setdefault(self._counter + remaining, []).append(row)

    def _leave(self, row: _Row) -> None:
        """Take a row out of the decode batches that are still to be scheduled."""
        if self._running.pop(row.request.id, None) is not None:
            row.left = self._counter
            self._members = None
            self._context -= row.request.context + 1 + self._counter - row.joined

    def _prefill(self, chosen: list[Request], budget: Budget) -> Batch:
        tokens = sum(r.context for r in chosen)
        if len(chosen) > budget.rows or (tokens > budget.tokens and len(chosen) > 1):
            raise ValueError(f"the policy chose {len(chosen)} requests of {tokens} tokens, the budget is {budget}")
        ids = {r.id for r in chosen}
        num_left = len(self.waiting) - len(chosen)
        while self.waiting and self.waiting[0].id in ids:
            self.waiting.popleft()
        if len(self.waiting) != num_left:  # out of order: only such a choice costs a look at the whole queue
            self.waiting = deque(r for r in self.waiting if r.id not in ids)
        if len(self.waiting) != num_left or any(r.computed for r in chosen):
            raise ValueError(f"the policy chose requests {[r.id for r in chosen]}: not all of them wait for a prefill")
        finishing = []
        for request in chosen:
            row = self._admit(request)
            row.before = 1
            if request.max_tokens > 1:
                self._join(row)
            else:
                finishing.append(request)
        return self._launchable(
            Batch(
                self._index, Phase.PREFILL, len(chosen), tokens, tokens, tuple(chosen),
                finishing=tuple(finishing), prompts=tuple(r.context for r in chosen),
            )
        )  # fmt: skip

    def _decode(self) -> Batch:
        if self._members is None:
            self._members = tuple(row.request for row in self._running.values())
        rows = len(self._members)
        self._counter += 1
        ending = [row for row in self._ends.pop(self._counter, ()) if not row.finished]
        batch = Batch(
            self._index, Phase.DECODE, rows, rows, self._context, self._members,
            # a row can stop between its prefill and its first decode batch
            joined=tuple(row.request for row in self._joined if not row.finished),
            finishing=tuple(row.request for row in ending), counter=self._counter,
        )  # fmt: skip
        self._joined = []
        self._context += rows
        if self.foresee_length:
            for row in ending:
                self._leave(row)
        return self._launchable(batch)

    def _launchable(self, batch: Batch) -> Batch:
        self._index += 1
        self.in_flight.append(batch)
        return batch

    def _finish(self, row: _Row, batch: Batch, reason: Reason) -> tuple[Request, int, Reason]:
        """End a request at the token this batch produced; rows of it that are in flight already become late."""
        row.finished = True
        self._leave(row)
        last = batch
        for later in self.in_flight:
            if row.joined < later.counter <= row.left:
                later.late += (row.request.id,)
                last = later
        self._freed_with.setdefault(last.index, []).append(row)
        tokens = row.before + (batch.counter - row.joined if batch.phase is Phase.DECODE else 0)
        return row.request, tokens, reason
