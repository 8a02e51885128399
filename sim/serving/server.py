"""Everything a loop drives: scheduler, buckets and FutureMap, as one object without a clock."""

from __future__ import annotations

from itertools import islice

from sim.serving.batch import Batch, Outputs, Phase, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import SlotRing
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler


class Server:
    """The state of one engine process.

    ``buckets`` None runs every batch eager. ``slots`` is the ring that stands in for tokens not known yet; None when
    inputs are always known (serial loops) or when each request owns a slot for life.
    """

    def __init__(self, scheduler: Scheduler, buckets: Buckets | None = None, slots: SlotRing | None = None) -> None:
        self.scheduler = scheduler
        self.buckets = buckets
        self.slots = slots
        self._reads: dict[int, tuple[int, ...]] = {}
        self._read: set[int] = set()

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

    def prepare(self, batch: Batch) -> None:
        """Choose the batch's bucket; reserve slots for its tokens and name those that its inputs stand in."""
        if self.buckets is not None and batch.phase is Phase.DECODE:
            batch.bucket = self.buckets.fit(batch.rows)
        if self.slots is None:
            return
        batch.slots = self.slots.reserve(batch.index, batch.rows)
        if batch.phase is Phase.DECODE:
            feeding = self._feeding()
            batch.sources = tuple(self.slots.slots(index) for index in feeding)
            self._reads[batch.index] = feeding
            self._read.update(feeding)

    def process(self, batch: Batch, result: StepResult) -> Outputs:
        """Digest a result; slots that no step in flight can read any more go back to the ring."""
        outputs = self.scheduler.process(batch, result)
        if self.slots is not None:
            for index in self._reads.pop(batch.index, ()):
                self.slots.release(index)
                self._read.remove(index)
            if batch.index not in self._read:
                self.slots.release(batch.index)
        return outputs

    def _feeding(self) -> tuple[int, ...]:
        """Steps in flight that feed the newest, a decode: the decode before it and the prefills since, oldest first."""
        feeding: list[int] = []
        for batch in islice(reversed(self.scheduler.in_flight), 1, None):
            feeding.append(batch.index)
            if batch.phase is Phase.DECODE:
                break
        return tuple(reversed(feeding))
