"""From a batch to the integer table that its step reads."""

from __future__ import annotations

from collections import deque
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from gpu.model.meta import FUTURE, LENGTH, PAGE, POSITION, SCRATCH, SLOT, TABLE, TOKEN
from sim.serving.batch import Batch
from sim.serving.future_map import reference
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request

Table = npt.NDArray[np.int32]


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
    def steps(self) -> list[tuple[Request, ...]]:
        """Whose tokens each processed step sampled, row by row."""
        return [members for members, _ in self._learned]

    def learn(self, batch: Batch, tokens: list[int]) -> None:
        """Remember the sampled tokens of the oldest step in flight."""
        assert self._in_flight.popleft() is batch
        self._learned.append((batch.members, tokens))

    def decode(self, batch: Batch, out: Table) -> None:
        """Write the rows of a decode batch, and harmless ones up to its bucket."""
        rows = batch.rows
        table = self._rows[:rows]
        if batch.members is not self._members:
            self._refill(batch)
        else:
            table[:, LENGTH] += 1
        position = table[:, LENGTH] - 1
        table[:, POSITION] = position
        page = table[self._all[:rows], TABLE + position // PAGE]
        table[:, SLOT] = page * PAGE + position % PAGE
        table[:, TOKEN] = self._latest(batch)
        table[:, FUTURE] = _numbers(batch.slots) if batch.slots is not None else self._scratch_slot
        out[:rows] = table
        if batch.padding:
            padding = out[rows : rows + batch.padding]
            padding[:] = 0
            padding[:, SLOT] = SCRATCH * PAGE
            padding[:, LENGTH] = 1
            padding[:, FUTURE] = self._scratch_slot
        self._in_flight.append(batch)

    def prefill(self, batch: Batch, out: Table, lists: Table) -> None:
        """Write one row a prompt token, prompts one after the other, and behind them the three lists of prompts."""
        starts = list(accumulate((chunk.tokens for chunk in batch.prompts), initial=0))
        for request, start in zip(batch.members, starts, strict=False):
            rows = out[start : start + request.context]
            position = np.arange(request.context)
            rows[:, TOKEN] = self._prompt(request)
            rows[:, POSITION] = position
            pages = np.array(self._kv.table(request.id)) + 1
            rows[:, SLOT] = pages[position // PAGE] * PAGE + position % PAGE
            rows[:, LENGTH] = position + 1
        count = batch.rows
        lists[: count + 1] = starts
        lists[count + 1 : 2 * count + 1] = np.array(starts[1:]) - 1
        lists[2 * count + 1 : 3 * count + 1] = _numbers(batch.slots) if batch.slots is not None else self._scratch_slot
        self._in_flight.append(batch)

    def _refill(self, batch: Batch) -> None:
        """The members have changed: move the rows of those that stay, and write those of the others anew."""
        before = {request.id: row for row, request in enumerate(self._members or ())}
        moved = [before.get(request.id, -1) for request in batch.members]
        rows = self._rows[: batch.rows]
        rows[:] = self._rows[moved]
        rows[:, LENGTH] += 1
        for row, request in enumerate(batch.members):
            if moved[row] < 0:
                pages = self._kv.table(request.id)
                rows[row, TABLE : TABLE + len(pages)] = np.array(pages) + 1
                rows[row, LENGTH] = request.context + 1
        self._members = batch.members

    def _latest(self, batch: Batch) -> npt.NDArray[np.int32] | list[int]:
        """Each row's input token: known, or the name of the slot that will hold it."""
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
        begins = {r.id for r in batch.joined if r.computed}
        named |= self._known({r.id for r in batch.members} - named.keys() - begins)
        return [first_token(r, self._vocab) if r.id in begins else named[r.id] for r in batch.members]

    def _known(self, requests: set[int]) -> dict[int, int]:
        """The latest tokens of requests, each from the latest step that it was part of."""
        known: dict[int, int] = {}
        for members, tokens in reversed(self._learned):
            if not requests:
                break
            known |= {r.id: token for r, token in zip(members, tokens, strict=True) if r.id in requests}
            requests -= known.keys()
        return known


def _numbers(slots: object) -> Table:
    if isinstance(slots, range):
        return np.arange(slots.start, slots.stop, dtype=np.int32)
    return np.array(slots, dtype=np.int32)


class Prompts:
    """The prompts of requests: random tokens that depend on the request alone.

    Each is made once, for whoever keeps this object: clients send tokens, no server draws them.
    """

    def __init__(self, vocab: int) -> None:
        self._vocab = vocab
        self._made: dict[tuple[int, int], Table] = {}

    def __call__(self, request: Request) -> Table:
        """A request's prompt."""
        key = request.id, request.context
        if key not in self._made:
            drawn = np.random.default_rng(request.id).integers(0, self._vocab, request.context)
            self._made[key] = drawn.astype(np.int32)
        return self._made[key]


def first_token(request: Request, vocab: int) -> int:
    """The token that a request whose context is already computed begins with."""
    return (request.id * 7919 + 17) % vocab
