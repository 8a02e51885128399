"""The rows that decode together: who they are, when they end, and what they take of the cache.

A batch costs time in proportion to what changes, not to the rows: these advance by one shared counter, and ends by
length and blocks that fill up wait in calendars of that counter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate, cycle, islice

from sim.serving.batch import Batch, Phase
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.row import Calendar, Row


class Decoding:
    """Builds decode batches, one at a time, or many at once while they have nothing to tell.

    ``foresee_length`` and ``grow`` are the scheduler's.
    """

    def __init__(self, kv: KVCache, *, foresee_length: bool, grow: bool) -> None:
        self.kv = kv
        self.foresee_length = foresee_length
        self.grow = grow
        self.in_flight: deque[Batch] = deque()
        self._running: dict[int, Row] = {}
        self._decoding: dict[int, Request] = {}
        self._members: tuple[Request, ...] | None = None
        self._joined: list[Row] = []
        self._ends = Calendar()
        self._grows = Calendar()
        self._counter = 0
        self._context = 0
        self._index = 0

    def quiet_steps(self, stop: int | None) -> int:
        """How many of the next batches are the last one again, one token further, with nothing to tell in any result.

        ``stop`` is the number of the decode batch in which the next request stops. The last one may be that of a
        request's last token, if its result comes back later.
        """
        members = self._members
        if self._joined or members is None:
            return 0
        for b in self.in_flight:
            # whoever joined the one that comes back next may have had its first token with its prompt
            told = not b.joined or (b is self.in_flight[0] and all(self._running[r.id].before for r in b.joined))
            if not told or b.members is not members or b.finishing or b.preempted or b.late:
                return 0
        oldest = self.in_flight[0].counter if self.in_flight else self._counter + 1
        quiet = (self._ends.first or 0) - self._counter - (not self.in_flight)
        quiet = max(0, quiet if stop is None else min(quiet, stop - oldest))
        if not self.grow:
            return quiet
        return bisect_right(self.kv_blocks(quiet), self.kv.num_blocks, lo=len(self.in_flight)) - len(self.in_flight)

    def kv_blocks(self, steps: int) -> list[int]:
        """Blocks in use while each of the batches in flight runs, and each of so many quiet ones after them."""
        used = self.kv.num_used
        before = [batch.kv_blocks for batch in self.in_flight]
        if not self.grow:
            return before + [used] * steps
        # whoever has filled a block fills the next one so many tokens later
        filled = [self._filled(self._counter + ahead) for ahead in range(1, min(steps, self.kv.block_tokens) + 1)]
        return before + list(accumulate(islice(cycle(filled), steps), initial=used))[1:]

    def advance(self, steps: int) -> None:
        """Schedule and process so many quiet batches; those in flight become the last of them."""
        assert self._members is not None
        attended, used = steps * len(self._members), [self.kv.num_used] * len(self.in_flight)
        if self.grow or steps < len(used):
            used = self.kv_blocks(steps)[steps:]
        if self.grow:
            for _ in range(steps):
                self._counter += 1
                self._extend()
        else:
            self._counter += steps
        self._index += steps
        self._context += attended
        for batch, blocks in zip(self.in_flight, used, strict=True):
            batch.index += steps
            batch.counter += steps
            batch.decode_context += attended
            batch.joined = batch.admitted = ()
            batch.kv_blocks = blocks
        if self.in_flight:
            self.in_flight[-1].finishing = self._ending()

    def _decoding_batch(self) -> Batch:
        """One more token of everybody who runs."""
        self._counter += 1
        if self._members is None:
            self._members = tuple(self._decoding.values())
        members, context = self._members, self._context
        if self.grow:
            self._extend()
        # a row can stop between its prefill and its first decode batch
        joined = tuple([row.request for row in self._joined if not row.finished]) if self._joined else ()
        self._joined = []
        rows = len(members)
        self._context += rows
        batch = Batch(self._index, Phase.DECODE, rows, rows, context, members, joined)
        batch.counter = self._counter
        batch.finishing = self._ending()
        return batch

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

    def _ending(self) -> tuple[Request, ...]:
        """Those whose last token by length the newest decode batch computes; they leave if that is foreseen."""
        due = self._ends.pop(self._counter)
        if not due:
            return ()
        ending = [row for row in due if not row.finished]
        if self.foresee_length:
            for row in ending:
                self._leave(row)
        return tuple([row.request for row in ending])

    def _extend(self) -> None:
        """Hand blocks to the rows that have filled theirs."""
        for row in self._grows.pop(self._counter):
            if self._running.get(row.request.id) is row:
                self.kv.grow(row.request.id)
                self._grows.add(self._counter + self.kv.block_tokens, row)

    @property
    def _growth(self) -> int:
        """Blocks that the rows of the next decode batch fill."""
        return self._filled(self._counter + 1)

    def _filled(self, counter: int) -> int:
        """Blocks that rows fill in the decode batch of a number."""
        return sum(self._running.get(row.request.id) is row for row in self._grows.at(counter))
