"""Continuous batching: which requests the next step computes, and what its result means for them.

A step costs time in proportion to what changes, not to the rows: running rows advance by one shared counter, ends by
length wait in a table keyed by that counter, and a stop is looked up only when a result names it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil

from sim.serving.batch import Batch, Chunk, Outputs, Phase, StepResult
from sim.serving.kv_cache import KVCache
from sim.serving.policies import DECODE, Budget, Plan, Policy, PolicyError, admitted, prefill_first
from sim.serving.request import Reason, Request
from sim.serving.row import Calendar, Row
from sim.serving.waiting import ArrivalOrder, Waiting


class Scheduler:
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
        self.kv = kv
        self.policy = policy
        self.max_rows = max_rows
        self.token_budget = token_budget
        self.chunked = chunked
        self.foresee_length = foresee_length
        self.late_rows = late_rows
        self.grow = grow
        self.watermark = ceil(watermark * kv.num_blocks)
        self.waiting: Waiting = ArrivalOrder() if waiting is None else waiting
        self.waiting.bind(self.cached)
        self.in_flight: deque[Batch] = deque()
        self._rows: dict[int, Row] = {}
        self._partial: dict[int, Row] = {}
        self._running: dict[int, Row] = {}
        self._decoding: dict[int, Request] = {}
        self._members: tuple[Request, ...] | None = None
        self._admitted: list[Request] = []
        self._joined: list[Row] = []
        self._ends = Calendar()
        self._grows = Calendar()
        self._received: dict[int, int] = {}
        self._preempted: list[Request] = []
        self._counter = 0
        self._context = 0
        self._index = 0
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
        plan = DECODE
        if admit:
            self._admit_computed()
            if self.waiting or self._partial:
                plan = self.policy(self, self._budget)
        decode = plan.decode and bool(self._running)
        if decode and self.grow and self._growth > self.kv.num_free:
            if self.in_flight:
                return None
            self._preempt()
            plan = self.policy(self, self._budget._replace(rows=0, blocks=0)) if self._partial else DECODE
            decode = plan.decode and bool(self._running)
        if plan.prompts:
            self.waiting.take(admitted(plan, self, self._budget, len(self._running) if decode else 0))
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
        first, partial = (batch.first, batch.partial) if batch.prompts else ((), 0)
        if batch.joined:
            first += tuple([r for r in batch.joined if not self._rows[r.id].before and r.id not in batch.late])
        freed = tuple([row.request.id for row in self._freed_with.pop(batch.index, ())])
        for number in freed:
            self.kv.free(number)
            del self._rows[number]
        tokens = batch.rows - partial - len(batch.late)
        return Outputs(batch, tokens, first, tuple(finished), len(batch.late), freed)

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
        """How many of the next batches are the last one again, one token further, with nothing to tell in any result.

        That needs empty queues, so no policy is asked; ``stop`` is the number of the decode batch in which the next
        request stops. The last one may be that of a request's last token, if its result comes back later.
        """
        members = self._members
        if self.waiting or self._partial or self._joined or self._freed_with or members is None:
            return 0
        used = self.kv.num_blocks - self.kv.num_free
        for b in self.in_flight:
            # whoever joined the one that comes back next may have had its first token with its prompt
            told = not b.joined or (b is self.in_flight[0] and all(self._rows[r.id].before for r in b.joined))
            if not told or b.members is not members or b.finishing or b.preempted or b.late or b.kv_blocks != used:
                return 0
        oldest = self.in_flight[0].counter if self.in_flight else self._counter + 1
        quiet = (self._ends.first or 0) - self._counter - (not self.in_flight)
        if (grows := self._grows.first) is not None:
            quiet = min(quiet, grows - self._counter - 1)
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
            batch.decode_context += steps * rows
            batch.joined = batch.admitted = ()
        if self.in_flight:
            self.in_flight[-1].finishing = tuple(self._ending())

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

    @property
    def _growth(self) -> int:
        """Blocks that the rows of the next decode batch fill."""
        return sum(self._running.get(row.request.id) is row for row in self._grows.at(self._counter + 1))

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

    def _join(self, row: Row) -> None:
        """Add a row to the decode batch from the next one on."""
        request = row.request
        row.joined = self._counter
        self._running[request.id] = row
        self._decoding[request.id] = request
        self._joined.append(row)
        self._members = None
        self._context += row.prompt + 1
        self._ends.add(self._counter + request.max_tokens - row.before, row)
        if self.grow:
            room = len(self.kv.table(request.id)) * self.kv.block_tokens - row.prompt
            self._grows.add(self._counter + room + 1, row)

    def _leave(self, row: Row) -> None:
        """Take a row out of the decode batches that are still to be scheduled."""
        if self._running.pop(row.request.id, None) is not None:
            del self._decoding[row.request.id]
            row.left = self._counter
            self._members = None
            self._context -= row.prompt + 1 + self._counter - row.joined

    @property
    def _budget(self) -> Budget:
        rows = self.max_rows - len(self._running) - len(self._partial)
        free = self.kv.num_free
        if self.grow and self._rows:  # whoever is alone may have everything
            free = max(0, free - self._growth - self.watermark)
        return Budget(self.token_budget, rows, free, self.kv.block_tokens, self.chunked)

    def _build(self, plan: Plan, *, decode: bool) -> Batch:
        members: tuple[Request, ...] = ()
        joined: tuple[Request, ...] = ()
        finishing: list[Request] = []
        context = 0
        # first of all, since whatever takes blocks may take those of prompts that nobody uses
        fresh = [(r, self.kv.hold(r, self._prompt(r))) for r, _ in plan.prompts if r.id not in self._rows]
        if decode:
            self._counter += 1
            if self._members is None:
                self._members = tuple(self._decoding.values())
            members, context = self._members, self._context
            self._extend()
            if self._joined:
                # a row can stop between its prefill and its first decode batch
                joined = tuple([row.request for row in self._joined if not row.finished])
                self._joined = []
            self._context += len(members)
            finishing = self._ending()
        for request, cached in fresh:
            self._admit(request).done = cached
        batch = Batch(
            self._index, Phase.DECODE, len(members), len(members), context, members, joined,
            counter=self._counter if decode else 0, admitted=tuple(self._admitted), preempted=tuple(self._preempted),
        )  # fmt: skip
        if plan.prompts:
            batch.add([self._chunk(request, count, finishing) for request, count in plan.prompts])
            batch.cached = sum([cached for _, cached in fresh])
            for chunk in batch.prompts:
                self.kv.computed(chunk.request, chunk.stop)
        batch.finishing = tuple(finishing)
        batch.kv_blocks = self.kv.num_blocks - self.kv.num_free
        self._admitted, self._preempted = [], []
        self._index += 1
        self.in_flight.append(batch)
        return batch

    def _ending(self) -> list[Request]:
        """Those whose last token by length the newest decode batch computes; they leave if that is foreseen."""
        ending = [row for row in self._ends.pop(self._counter) if not row.finished]
        if self.foresee_length:
            for row in ending:
                self._leave(row)
        return [row.request for row in ending]

    def _extend(self) -> None:
        """Hand blocks to the rows that have filled theirs."""
        for row in self._grows.pop(self._counter):
            if self._running.get(row.request.id) is row:
                self.kv.grow(row.request.id)
                self._grows.add(self._counter + self.kv.block_tokens, row)

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
            chunks = [chunk for chunk in later.prompts if chunk.request is row.request]
            if row.joined < later.counter <= row.left or any(chunk.output for chunk in chunks):
                later.late += (row.request.id,)
            elif not chunks:
                continue
            last = later
        return last
