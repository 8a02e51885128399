"""Continuous batching: which requests the next step computes, and what its result means for them.

A step costs time in proportion to what changes, not to the rows: running rows advance by one shared counter, ends by
length wait in a table keyed by that counter, and a stop is looked up only when a result names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from sim.serving.batch import Batch, Chunk, Outputs, Phase, StepResult
from sim.serving.decoding import Decoding
from sim.serving.kv_cache import KVCache
from sim.serving.policies import DECODE, Budget, Plan, Policy, PolicyError, admitted, prefill_first
from sim.serving.request import Reason, Request
from sim.serving.row import Row
from sim.serving.waiting import ArrivalOrder, Waiting


class Scheduler(Decoding):
    """Builds batches and digests results, any number of batches ahead.

    ``foresee_length`` takes a row out of the batch after the one that produces its last token by length, since that
    is known in advance; without it, the end is seen when the result is processed, and rows already launched are
    late. A stop token is always seen when processed. Each request has blocks for ``late_rows`` such rows, one fewer
    than the steps that may be in flight. ``max_rows`` bounds the requests that hold blocks,
    ``token_budget`` the new tokens of a step that computes prompts. A prompt is computed whole unless ``chunked``.
    ``waiting`` holds those who wait, in the order in which ``policy`` sees them.

    A request gets the blocks of its prompt and of the longest output when it is admitted, so that it never runs out;
    or, if they ``grow``, those of its prompt, and another whenever its context fills one. Admission then leaves a share
    of all blocks free, the ``watermark``. When there are none left for all decode rows, whoever was admitted last loses
    its blocks and goes back to the front of the queue; it computes its prompt again, with the tokens it had received.
    A token in flight is needed for that and may end a request, so results are waited for first.
    """

    def __init__(
        self,
        kv: KVCache,
        *,
        policy: Policy = prefill_first,
        waiting: Waiting | None = None,
        max_rows: int = 256,
        token_budget: int = 8192,
        chunked: bool = False,
        foresee_length: bool = True,
        late_rows: int = 1,
        grow: bool = False,
        watermark: float = 0.0,
    ) -> None:
        if max_rows < 1 or token_budget < 1:
            raise ValueError(
                f"a scheduler needs max_rows and token_budget of at least 1, got {max_rows} and {token_budget}"
            )
        super().__init__(kv, foresee_length=foresee_length, grow=grow)
        self.policy = policy
        self.max_rows = max_rows
        self.token_budget = token_budget
        self.chunked = chunked
        self.late_rows = late_rows
        self.watermark = ceil(watermark * kv.num_blocks)
        self.waiting: Waiting = ArrivalOrder() if waiting is None else waiting
        self.waiting.bind(self.cached)
        self._rows: dict[int, Row] = {}
        self._partial: dict[int, Row] = {}
        self._admitted: list[Request] = []
        self._received: dict[int, int] = {}
        self._preempted: list[Request] = []
        self._freed_with: dict[int, list[Row]] = {}

    @property
    def num_running(self) -> int:
        """Rows of the next decode batch as far as is known."""
        return len(self._running)

    @property
    def partial(self) -> Sequence[Request]:
        """Requests whose prompt is computed in part, in order of admission."""
        return [row.request for row in self._partial.values()]

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is in flight."""
        return not (self.waiting or self._partial or self._running or self.in_flight)

    def left(self, request: Request) -> int:
        """Tokens of a request's prompt that no step computes yet."""
        row = self._rows.get(request.id)
        if row is not None:
            return row.prompt - row.done
        if request.computed and request.id not in self._received:
            return 0
        prompt = self._prompt(request)
        return prompt - self.kv.cached(request, prompt)

    def cached(self, request: Request) -> int:
        """Tokens of a waiting prompt that need not be computed, since the cache has them."""
        return self.kv.cached(request, self._prompt(request))

    def blocks(self, request: Request) -> int:
        """Blocks that admitting a request takes: for its prompt and a token, or for all it can ever need."""
        prompt = self._prompt(request)
        return self.kv.needed(request, prompt, prompt + 1 if self.grow else self._most(request))

    def _most(self, request: Request) -> int:
        """Tokens of KV cache that a request can need: prompt, longest output and its late rows."""
        return request.context + request.max_tokens + self.late_rows

    def _prompt(self, request: Request) -> int:
        """Tokens that a waiting request has in its cache when it decodes: its prompt, and what it had received."""
        if not self._received:
            return request.context
        received = self._received.get(request.id)
        # one that was computed elsewhere has read, but not yet stored, the token it began with
        return request.context + (0 if received is None else received + request.computed)

    def add(self, requests: tuple[Request, ...]) -> None:
        """Queue arrivals; raises ``ValueError`` for one that can never fit into the KV cache."""
        for request in requests:
            most, room = self._most(request), self.kv.num_blocks * self.kv.block_tokens
            if self.kv.blocks_for(most) > self.kv.num_blocks:
                raise ValueError(f"request {request.id} needs {most} tokens of KV cache, which holds {room}")
            self.waiting.add(request, self.left(request))

    def schedule(self, *, admit: bool = True) -> Batch | None:
        """The next batch, or None when there is nothing to compute before a result comes back.

        Without ``admit`` prompts go on waiting: the rows that run decode once more. Raises ``PolicyError`` for a plan
        that breaks its budget or leaves everybody waiting for nothing.
        """
        if self._running and not (self.waiting or self._partial or self.grow):
            return self._closed(self._decoding_batch())
        plan = DECODE
        budget = None
        if admit:
            self._admit_computed()
            if self.waiting or self._partial:
                budget = self._budget
                plan = self.policy(self, budget)
        decode = plan.decode and bool(self._running)
        if decode and self.grow and self._growth > self.kv.num_free:
            if self.in_flight:
                return None
            self._preempt()
            budget = None
            plan = self.policy(self, self._budget._replace(rows=0, blocks=0)) if self._partial else DECODE
            decode = plan.decode and bool(self._running)
        if plan.prompts:
            budget = budget or self._budget
            self.waiting.take(admitted(plan, self, budget, len(self._running) if decode else 0))
        elif not decode:
            if admit and not self.idle and not self.in_flight:
                raise PolicyError(f"the policy chose nothing and nothing is in flight, the budget is {self._budget}")
            return None
        return self._build(plan, decode=decode)

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
        first: tuple[Request, ...] = ()
        partial, late = 0, len(batch.late)
        if batch.prompts:
            first, partial = batch.first, batch.partial
        if batch.joined:
            first += tuple([r for r in batch.joined if not self._rows[r.id].before and r.id not in batch.late])
        freed: tuple[int, ...] = ()
        if self._freed_with and (rows := self._freed_with.pop(batch.index, None)):
            freed = tuple([row.request.id for row in rows])
            for number in freed:
                self.kv.free(number)
                del self._rows[number]
        return Outputs(batch, batch.rows - partial - late, first, tuple(finished), late, freed)

    def cancel(self, number: int) -> bool:
        """A client has gone: its request ends now, with the tokens that it has; one that has ended is left alone.

        Rows of it in flight become late, and its blocks return with the last of them, as after a stop. Whether a batch
        has told of its admission and nothing of it is in flight, so that whoever went by the batches may forget it.
        """
        row = self._rows.get(number)
        if row is None:
            self.waiting.take([r for r in self.waiting if r.id == number])
            self._received.pop(number, None)
        if row is None or row.finished:
            return False
        self._partial.pop(number, None)
        last = self._end(row, None)
        if last is not None:
            self._freed_with.setdefault(last.index, []).append(row)
            return False
        self.kv.free(number)
        del self._rows[number]
        told = row.request not in self._admitted
        self._admitted = [r for r in self._admitted if r is not row.request]
        return told

    def quiet_steps(self, stop: int | None) -> int:
        """See ``Decoding``; that needs empty queues, too, so that no policy is asked."""
        return 0 if self.waiting or self._partial or self._freed_with else super().quiet_steps(stop)

    def _admit_computed(self) -> None:
        while self.waiting and self.waiting[0].computed and len(self._running) + len(self._partial) < self.max_rows:
            request = self.waiting[0]
            if request.id in self._received or self.blocks(request) > self._budget.blocks:
                return
            self.waiting.take((request,))
            self._join(self._admit(request))

    def _admit(self, request: Request) -> Row:
        prompt = self._prompt(request)
        self.kv.allocate(request.id, prompt + 1 if self.grow else self._most(request))
        self._admitted.append(request)
        row = self._rows[request.id] = Row(request, prompt, self._received.pop(request.id, 0))
        return row

    def _preempt(self) -> None:
        """Take the blocks of those admitted last until there are enough for the others; nothing is in flight."""
        back: list[Request] = []
        while self._growth > self.kv.num_free:
            row = next(reversed(self._rows.values()))
            request = row.request
            running = request.id in self._running
            self._received[request.id] = row.before + self._counter - row.joined if running else row.received
            row.finished = True
            self._leave(row)
            self._partial.pop(request.id, None)
            self.kv.free(request.id)
            del self._rows[request.id]
            back.append(request)
        back.reverse()
        self.waiting.put_back(back, [self.left(request) for request in back])
        self._preempted += back

    @property
    def _budget(self) -> Budget:
        rows = self.max_rows - len(self._running) - len(self._partial)
        free = self.kv.num_free
        if self.grow and self._rows:  # whoever is alone may have everything
            free = max(0, free - self._growth - self.watermark)
        return Budget(self.token_budget, rows, free, self.kv.block_tokens, self.chunked)

    def _build(self, plan: Plan, *, decode: bool) -> Batch:
        if not plan.prompts:
            return self._closed(self._decoding_batch())
        # first of all, since whatever takes blocks may take those of prompts that nobody uses
        rows, hold = self._rows, self.kv.hold
        fresh = [(r, hold(r, self._prompt(r))) for r, _ in plan.prompts if r.id not in rows]
        batch = self._decoding_batch() if decode else Batch(self._index, Phase.PREFILL, 0, 0, 0, ())
        for request, cached in fresh:
            self._admit(request).done = cached
            batch.cached += cached
        finishing = list(batch.finishing)
        batch.add([self._chunk(request, count, finishing) for request, count in plan.prompts])
        batch.finishing = tuple(finishing)
        for chunk in batch.prompts:
            self.kv.computed(chunk.request, chunk.stop)
        return self._closed(batch)

    def _closed(self, batch: Batch) -> Batch:
        """A batch that has all its rows is the newest in flight."""
        if self._admitted or self._preempted:
            batch.admitted, batch.preempted = tuple(self._admitted), tuple(self._preempted)
            self._admitted, self._preempted = [], []
        batch.kv_blocks = self.kv.num_used
        self._index += 1
        self.in_flight.append(batch)
        return batch

    def _chunk(self, request: Request, count: int, finishing: list[Request]) -> Chunk:
        """Compute so many tokens more of a prompt; at its end the row joins those who decode."""
        row = self._rows[request.id]
        start = row.done
        row.done += count
        if row.done < row.prompt:
            self._partial[request.id] = row
            return Chunk(request, start, count, 0)
        self._partial.pop(request.id, None)
        row.before = row.received + 1
        row.joined = row.left = self._counter
        if request.max_tokens > row.before:
            self._join(row)
        else:
            finishing.append(request)
        return Chunk(request, start, count, row.before)

    def _finish(self, row: Row, batch: Batch, reason: Reason) -> tuple[Request, int, Reason]:
        """End a request at the token this batch produced; rows of it that are in flight already become late."""
        last = self._end(row, batch)
        assert last is not None
        self._freed_with.setdefault(last.index, []).append(row)
        return row.request, row.before + max(0, batch.counter - row.joined), reason

    def _end(self, row: Row, last: Batch | None) -> Batch | None:
        """No batch computes a row from now on, those in flight that do do so in vain: the last of them, or ``last``."""
        row.finished = True
        self._leave(row)
        for later in self.in_flight:
            chunks = [chunk for chunk in later.prompts if chunk.request is row.request] if later.prompts else ()
            if row.joined < later.counter <= row.left or any(chunk.output for chunk in chunks):
                later.late += (row.request.id,)
            elif not chunks:
                continue
            last = later
        return last
