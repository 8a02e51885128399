"""From a batch to the integer table that its step reads."""

from __future__ import annotations

from collections import deque
from itertools import chain, compress
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu.model.meta import FUTURE, LENGTH, PAGE, POSITION, SCRATCH, SLOT, TABLE, TOKEN
from sim.serving.batch import Batch, Chunk
from sim.serving.future_map import reference
from sim.serving.kv_cache import KVCache
from sim.serving.request import HASH_TOKENS, Request

Table = npt.NDArray[np.signedinteger[Any]]


class Inputs:
    """Fills the rows of steps. Rows that stay from step to step advance by vector operations.

    A token that is still in flight is named by its slot. The cache's page 0 is scratch, so a request's block b lies in
    page b + 1. ``scratch_slot`` is the FutureMap slot of tokens that nobody will ask for.
    """

    def __init__(
        self, kv: KVCache, rows: int, pages: int, vocab: int, *, scratch_slot: int = 0, prompts: Prompts | None = None
    ) -> None:
        self._kv = kv
        self._vocab = vocab
        self._prompt = Prompts(vocab) if prompts is None else prompts
        self._scratch_slot = scratch_slot
        self._rows = np.zeros((rows, TABLE + pages), np.int32)
        self._all = np.arange(rows)
        self._members: tuple[Request, ...] | None = None
        self._in_flight: deque[Batch] = deque()
        self._learned: list[tuple[tuple[Request, ...], list[int]]] = []
        self._steps: list[tuple[Request | None, ...]] = []
        self._computed: dict[int, int] = {}
        self._begun: set[int] = set()

    @property
    def width(self) -> int:
        """Columns of a decode step's table."""
        return self._rows.shape[1]

    @property
    def sampled(self) -> dict[int, list[int]]:
        """Each request's tokens as their steps were processed, late ones included."""
        tokens: dict[int, list[int]] = {}
        for members, row in self._learned:
            for request, token in zip(members, row, strict=True):
                tokens.setdefault(request.id, []).append(token)
        return tokens

    @property
    def steps(self) -> list[tuple[Request | None, ...]]:
        """Whose tokens each processed step sampled, row by row; None for a row whose prompt went on."""
        return self._steps

    def learn(self, batch: Batch, tokens: list[int]) -> None:
        """Remember the sampled tokens of the oldest step in flight, but for those of prompts that go on."""
        assert self._in_flight.popleft() is batch
        if not batch.partial:
            self._learned.append((batch.members, tokens))
            self._steps.append(batch.members)
            return
        ends = [*[True] * batch.decode_rows, *(chunk.output > 0 for chunk in batch.prompts)]
        self._learned.append((tuple(compress(batch.members, ends)), list(compress(tokens, ends))))
        self._steps.append(tuple(r if ended else None for r, ended in zip(batch.members, ends, strict=True)))

    def decode(self, batch: Batch, out: Table) -> None:
        """Write the rows of a decode batch, and harmless ones up to its bucket."""
        rows = batch.rows
        out[:rows] = self._decode_rows(batch)
        if batch.padding:
            padding = out[rows : rows + batch.padding]
            padding[:] = 0
            padding[:, SLOT] = SCRATCH * PAGE
            padding[:, LENGTH] = 1
            padding[:, FUTURE] = self._scratch_slot
        self._in_flight.append(batch)

    def prompts(self, batch: Batch, out: Table, wide: Table, lists: Table) -> None:
        """Write the rows of a step that computes prompts, and behind them its lists.

        A row each decode row and each prompt token goes to ``out``; ``wide`` gets the decode rows with their pages.
        """
        if batch.decode_rows:
            wide[:] = self._decode_rows(batch)
            out[: batch.decode_rows] = wide[:, :TABLE]
        chunks, rows = batch.prompts, out[batch.decode_rows :]
        counts, stops = np.array([c.tokens for c in chunks]), np.array([c.stop for c in chunks])
        starts, read_starts = _starts(counts), _starts(stops)
        tables = [self._kv.table(chunk.request.id) for chunk in chunks]
        pages = np.fromiter(chain.from_iterable(tables), np.int64) + 1
        first_page = _starts(np.array([len(table) for table in tables]))[:-1]

        def cache_slots(position: Table, each: Table) -> Table:
            """Where the cache keeps these positions, so many of each prompt."""
            slots: Table = pages[np.repeat(first_page, each) + position // PAGE] * PAGE + position % PAGE
            return slots

        position = np.arange(starts[-1]) + np.repeat(stops - counts - starts[:-1], counts)
        rows[:, TOKEN] = np.concatenate([self._tokens(chunk) for chunk in chunks])
        rows[:, POSITION] = position
        rows[:, SLOT] = cache_slots(position, counts)
        rows[:, LENGTH] = position + 1
        last = starts[1:] - 1 + batch.decode_rows
        slots = np.full(batch.rows, self._scratch_slot) if batch.slots is None else _numbers(batch.slots)
        numbers = [starts, self._all[: batch.decode_rows], last, slots]
        if any(chunk.start for chunk in chunks):
            read = np.arange(read_starts[-1]) - np.repeat(read_starts[:-1], stops)
            numbers += [read_starts, cache_slots(read, stops)]
        lists[:] = np.concatenate(numbers)
        self._computed |= {chunk.request.id: chunk.stop for chunk in chunks if chunk.output}
        self._in_flight.append(batch)

    def _tokens(self, chunk: Chunk) -> Table:
        """What a piece of a prompt consists of: one that is computed again goes on with what was sampled."""
        request, tokens = chunk.request, self._prompt(chunk.request)
        if chunk.stop > request.context:
            again = [first_token(request, self._vocab)] if request.computed else []
            known = (zip(members, row, strict=True) for members, row in self._learned)
            again += [token for row in known for other, token in row if other.id == request.id]
            tokens = np.concatenate([tokens, np.array(again, np.int32)])
        return tokens[chunk.start : chunk.stop]

    def _decode_rows(self, batch: Batch) -> Table:
        """The rows that decode, one token further than in the step before."""
        rows = batch.decode_rows
        table = self._rows[:rows]
        if batch.members is not self._members:
            self._refill(batch.members[:rows] if batch.prompts else batch.members)
        else:
            table[:, LENGTH] += 1
        position = table[:, LENGTH] - 1
        table[:, POSITION] = position
        for row in np.flatnonzero(position % PAGE == 0):  # the first token of a page, which may be a new one
            at = position[row] // PAGE
            table[row, TABLE + at] = self._kv.table(batch.members[row].id)[at] + 1
        page = table[self._all[:rows], TABLE + position // PAGE]
        table[:, SLOT] = page * PAGE + position % PAGE
        table[:, TOKEN] = self._latest(batch)
        table[:, FUTURE] = _numbers(batch.slots)[:rows] if batch.slots is not None else self._scratch_slot
        return table

    def _refill(self, members: tuple[Request, ...]) -> None:
        """The members have changed: move the rows of those that stay, and write those of the others anew."""
        before = {request.id: row for row, request in enumerate(self._members or ())}
        moved = [-1 if request.id in self._computed else before.get(request.id, -1) for request in members]
        rows = self._rows[: len(members)]
        rows[:] = self._rows[moved]
        rows[:, LENGTH] += 1
        for row, request in enumerate(members):
            if moved[row] < 0:
                pages = self._kv.table(request.id)
                rows[row, TABLE : TABLE + len(pages)] = np.array(pages) + 1
                rows[row, LENGTH] = self._computed.pop(request.id, request.context) + 1
        self._members = members

    def _latest(self, batch: Batch) -> npt.NDArray[np.int32] | list[int]:
        """Each decode row's input token: known, or the name of the slot that will hold it."""
        if not self._in_flight and self._learned and batch.members is self._learned[-1][0]:
            return self._learned[-1][1]
        flying = [b for b in self._in_flight if b.slots is not None]
        if flying and flying[-1].members is batch.members and isinstance(slots := flying[-1].slots, range):
            return np.arange(reference(slots.start), reference(slots.stop), -1, dtype=np.int32)
        named = {
            request.id: reference(slot)
            for feeding in flying
            for request, slot in zip(feeding.members, feeding.slots or (), strict=True)
        }
        rows = batch.members[: batch.decode_rows]
        begins = {r.id for r in batch.joined if r.computed} - self._begun
        self._begun |= begins  # one that comes back after a preemption goes on
        named |= self._known({r.id for r in rows} - named.keys() - begins)
        return [first_token(r, self._vocab) if r.id in begins else named[r.id] for r in rows]

    def _known(self, requests: set[int]) -> dict[int, int]:
        """The latest tokens of requests, each from the latest step that it was part of."""
        known: dict[int, int] = {}
        for members, tokens in reversed(self._learned):
            if not requests:
                break
            known |= {r.id: token for r, token in zip(members, tokens, strict=True) if r.id in requests}
            requests -= known.keys()
        return known


def _starts(counts: Table) -> Table:
    """Where so many things after one another begin, and where the last ones end."""
    return np.concatenate([[0], np.cumsum(counts)])


def _numbers(slots: object) -> Table:
    if isinstance(slots, range):
        return np.arange(slots.start, slots.stop, dtype=np.int32)
    return np.array(slots, dtype=np.int32)


class Prompts:
    """The prompts of requests: random tokens that depend on the request alone, or on its hashes as far as they go.

    Each is made once, for whoever keeps this object: clients send tokens, no server draws them.
    """

    def __init__(self, vocab: int) -> None:
        self._vocab = vocab
        self._made: dict[tuple[int, int], Table] = {}

    def __call__(self, request: Request) -> Table:
        """A request's prompt."""
        key = request.id, request.context
        if key not in self._made:
            shared = [self._drawn((HASH_TOKENS, number), HASH_TOKENS) for number in request.hashes]
            own = self._drawn(request.id, request.context)
            self._made[key] = np.concatenate([*shared, own])[: request.context].astype(np.int32)
        return self._made[key]

    def _drawn(self, seed: int | tuple[int, int], count: int) -> Table:
        drawn: Table = np.random.default_rng(seed).integers(0, self._vocab, count)
        return drawn


def first_token(request: Request, vocab: int) -> int:
    """The token that a request whose context is already computed begins with."""
    return (request.id * 7919 + 17) % vocab
