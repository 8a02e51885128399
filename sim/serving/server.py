"""Everything a loop drives: scheduler, buckets and FutureMap, as one object without a clock."""

from __future__ import annotations

from collections.abc import Sequence

from sim.serving.batch import Batch, Outputs, Phase, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import RequestSlots, SlotRing
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler


class Server:
    """The state of one engine process.

    ``buckets`` None runs every batch eager; ``pieces`` are the numbers of tokens for which steps with prompts have
    graphs that are captured in pieces. ``slots`` stand in for tokens not known yet: a ring from which each step
    reserves, or one slot a request from its first step to its end; None when inputs are always known (serial loops).
    """

    def __init__(
        self,
        scheduler: Scheduler,
        buckets: Buckets | None = None,
        slots: SlotRing | RequestSlots | None = None,
        pieces: Buckets | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.buckets = buckets
        self.pieces = pieces
        self.slots = slots
        # steps by their index, less the quiet ones that all in flight have gone on by
        self._passed = 0
        self._reads: dict[int, Sequence[int]] = {}
        self._read: set[int] = set()
        self._named: tuple[tuple[Request, ...], tuple[int, ...]] = ((), ())

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is in flight."""
        return self.scheduler.idle

    def add(self, requests: tuple[Request, ...]) -> None:
        """Queue arrivals."""
        self.scheduler.add(requests)

    def schedule(self) -> Batch | None:
        """The next batch, None when nothing can be computed before a result comes back."""
        return self.scheduler.schedule()

    def again(self) -> Batch | None:
        """The decode batch after the last one, prepared, without a look at who waits; None when no row is left."""
        batch = self.scheduler.schedule(admit=False)
        if batch is not None:
            self.prepare(batch)
        return batch

    def prepare(self, batch: Batch) -> None:
        """Choose the batch's bucket; reserve slots for its tokens and name those that its inputs stand in."""
        if self.buckets is not None and batch.phase is Phase.DECODE:
            batch.bucket = self.buckets.fit(batch.rows)
        if self.pieces is not None and batch.prompts:
            batch.pieces = self.pieces.fit(batch.tokens)
        if self.slots is None:
            return
        if isinstance(self.slots, RequestSlots):
            for request in batch.preempted:
                self.slots.release(request.id)
            batch.slots = self._owned(batch, self.slots)
            return
        step = batch.index - self._passed
        batch.slots = self.slots.reserve(step, batch.rows)
        if batch.phase is not Phase.PREFILL:
            feeding = self._feeding(batch)
            batch.sources = tuple([self.slots.slots(index) for index in feeding])
            self._reads[step] = feeding
            self._read.update(feeding)

    def process(self, batch: Batch, result: StepResult) -> Outputs:
        """Digest a result; slots that no step in flight can read any more go back to the ring."""
        outputs = self.scheduler.process(batch, result)
        if isinstance(self.slots, RequestSlots):
            for request in outputs.freed:
                self.slots.release(request)
        elif self.slots is not None:
            step = batch.index - self._passed
            for index in self._reads.pop(step, ()):
                self.slots.release(index)
                self._read.remove(index)
            if step not in self._read:
                self.slots.release(step)
        return outputs

    def cancel(self, request: int) -> None:
        """The client of a request has gone: it gets no other token, and what it holds returns with its last row.

        A request that has ended, or that nobody knows, is none to cancel.
        """
        if self.scheduler.cancel(request) and isinstance(self.slots, RequestSlots):
            self.slots.release(request)

    def quiet_steps(self, stop: int | None) -> int:
        """How many of the next steps are the last one again, one token further, if nothing arrives."""
        return self.scheduler.quiet_steps(stop)

    def kv_blocks(self, steps: int) -> list[int]:
        """KV blocks in use while each of the steps in flight runs, and each of so many quiet ones after them."""
        return self.scheduler.kv_blocks(steps)

    def advance(self, steps: int) -> None:
        """Be where so many quiet steps lead, up to which slots of the ring are in use."""
        self.scheduler.advance(steps)
        self._passed += steps

    def stand_in(self, batch: Batch, newer: Batch) -> None:
        """An old batch becomes one in flight, for a loop that knows the old one."""
        batch.become(newer)
        in_flight = self.scheduler.in_flight
        in_flight[in_flight.index(newer)] = batch

    def _owned(self, batch: Batch, slots: RequestSlots) -> tuple[int, ...]:
        """The slots of a batch's requests; those that were admitted get theirs now."""
        for request in batch.admitted:
            slots.acquire(request.id)
        if self._named[0] is not batch.members:
            self._named = batch.members, tuple(slots.slot(r.id) for r in batch.members)
        return self._named[1]

    def _feeding(self, newest: Batch) -> Sequence[int]:
        """Steps in flight that feed the newest: the last with decode rows and the prefills since, oldest first."""
        feeding: list[int] = []
        for batch in reversed(self.scheduler.in_flight):
            if batch is newest:
                continue
            feeding.append(batch.index - self._passed)
            if batch.phase is not Phase.PREFILL:
                break
        feeding.reverse()
        return feeding
