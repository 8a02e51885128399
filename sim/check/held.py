"""What requests and steps hold: blocks of the KV cache, and slots of the FutureMap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sim.check.ledger import Account, Complaint, Ledger, Where
from sim.serving.batch import Batch
from sim.serving.future_map import RequestSlots, SlotRing
from sim.serving.prefix_cache import PrefixCache
from sim.serving.request import HASH_TOKENS, Request
from sim.serving.scheduler import Scheduler

LIVE = (Where.PROMPT, Where.DECODING)


class Blocks:
    """Whose block is whose, how many each is due, and what stands in those that a prefix cache keeps."""

    def __init__(self, scheduler: Scheduler, ledger: Ledger) -> None:
        self._scheduler = scheduler
        self._ledger = ledger
        self._width = HASH_TOKENS // scheduler.kv.block_tokens
        self._holds: dict[int, tuple[int, ...]] = {}  # a block's hashes, from the prompt's first to its own
        self._before: dict[int, int] = {}

    def note(self) -> None:
        """Before a step is scheduled: blocks of each request, with the one that it fills in its next decode row."""
        kv = self._scheduler.kv
        self._before = {}
        for account in self._ledger.holding:
            if account.where in LIVE:
                own = len(kv.table(account.request.id))
                fills = account.where is Where.DECODING and account.attended > own * kv.block_tokens
                self._before[account.request.id] = own + fills

    def scheduled(self, batch: Batch) -> Iterator[Complaint]:
        """After a step has been scheduled: who got blocks, who lost them, and what prompts take from others."""
        scheduler, kv = self._scheduler, self._scheduler.kv
        if batch.kv_blocks != kv.num_blocks - kv.num_free:
            used = kv.num_blocks - kv.num_free
            yield "rows-add-up", f"step {batch.index} says that {batch.kv_blocks} blocks are in use, {used} are"
        watermark = scheduler.watermark if scheduler.grow and self._before and not batch.preempted else 0
        if batch.admitted and kv.num_free < watermark:
            told = (
                f"step {batch.index} admits requests {[r.id for r in batch.admitted]} and leaves {kv.num_free} blocks"
            )
            yield "kv-budget", f"{told}, the watermark is {watermark}"
        if batch.preempted and not scheduler.grow:
            yield (
                "preemption",
                f"requests {[r.id for r in batch.preempted]} were preempted, though all blocks are theirs",
            )
        for request in batch.preempted[:1]:
            if kv.num_free >= self._before.get(request.id, kv.num_blocks + 1):
                told = f"{kv.num_free} blocks are free, it needs {self._before[request.id]}"
                yield "preemption", f"request {request.id} lost its blocks for nothing: {told}"
        if isinstance(kv, PrefixCache):
            yield from self._shared(batch)
            self._written()

    def _shared(self, batch: Batch) -> Iterator[Complaint]:
        admitted = {r.id for r in batch.admitted}
        cached = {c.request: c.start for c in batch.prompts if c.request.id in admitted and c.start}
        for request, tokens in cached.items():
            if tokens % HASH_TOKENS or tokens >= self._ledger.accounts[request.id].prompt:
                yield "prefix-computed", f"request {request.id} begins at token {tokens} of its prompt"
            for place, block in enumerate(self._scheduler.kv.table(request.id)[: tokens // HASH_TOKENS * self._width]):
                if self._holds.get(block) != self._hashes(request, place):
                    told = f"request {request.id} takes the tokens of its block {place} from block {block}"
                    yield "prefix-computed", f"{told}, where others stand"
        if sum(cached.values()) != batch.cached:
            told = f"says that {batch.cached} tokens of its prompts are cached, {sum(cached.values())} are"
            yield "rows-add-up", f"step {batch.index} {told}"

    def _written(self) -> None:
        """What stands in the blocks of those who hold some, when the steps that are scheduled have run."""
        for account in self._ledger.holding:
            request, width = account.request, self._width
            whole = 0 if request.computed else min(account.done, request.context) // HASH_TOKENS
            for place, block in enumerate(self._scheduler.kv.table(request.id)):
                if place < min(whole, len(request.hashes)) * width:
                    self._holds[block] = self._hashes(request, place)
                else:
                    self._holds.pop(block, None)

    def _hashes(self, request: Request, place: int) -> tuple[int, ...]:
        return request.hashes[: place // self._width + 1]

    def found(self) -> Iterator[Complaint]:
        """At any time: every block is free or somebody's, and everybody has those that are due."""
        kv = self._scheduler.kv
        owners: dict[int, tuple[Request, int]] = {}
        for account in self._ledger.holding:
            request = account.request
            try:
                table = kv.table(request.id)
            except KeyError:
                yield "kv-use-after-free", f"request {request.id} is computed and holds no blocks"
                continue
            for place, block in enumerate(table):
                other, at = owners.setdefault(block, (request, place))
                shared = self._holds.get(block) == self._hashes(request, place) == self._hashes(other, at)
                if other is not request and not shared:
                    yield "kv-one-owner", f"block {block} belongs to requests {other.id} and {request.id}"
                if not 0 <= block < kv.num_blocks:
                    yield "kv-budget", f"request {request.id} holds block {block} of {kv.num_blocks}"
            yield from self._due(account, len(table))
        if kv.num_free + len(owners) != kv.num_blocks:
            yield "kv-no-leak", f"{kv.num_free} blocks are free and {len(owners)} held, of {kv.num_blocks}"

    def _due(self, account: Account, own: int) -> Iterator[Complaint]:
        """Blocks for every token that is written; where they grow, none before its first."""
        request, scheduler = account.request, self._scheduler
        kept = min(account.produced, request.max_tokens + scheduler.late_rows)  # rows that have room
        written = request.context + max(0, kept - 1 + request.computed)
        written = account.done if account.where is Where.PROMPT else written
        size = scheduler.kv.block_tokens
        if own * size < written and account.where is not Where.LEFT:
            yield "kv-budget", f"request {request.id} has {written} tokens in {own} blocks of {size}"
        if scheduler.grow and account.where not in LIVE:
            return
        attended = account.attended if account.where is Where.DECODING else 0
        tokens = max(account.began + 1, attended - 1)
        tokens = tokens if scheduler.grow else request.context + request.max_tokens + scheduler.late_rows
        if own != -(-tokens // size):
            yield "kv-budget", f"request {request.id} has {own} blocks of {size} for {tokens} tokens"


class Slots:
    """Who may still read which slot of the FutureMap."""

    def __init__(self, slots: SlotRing | RequestSlots | None, ledger: Ledger) -> None:
        self._slots = slots
        self._ledger = ledger
        self._batches: dict[int, Batch] = {}
        self._readers: dict[int, set[int]] = {}  # of a step's slots: steps in flight that read them

    def prepared(self, batch: Batch) -> Iterable[Complaint]:
        """A step's slots have been named: its own, and those that it reads."""
        if self._slots is None:
            return
        slots = tuple(batch.slots or ())
        if len(slots) != batch.rows or len(set(slots)) != len(slots):
            yield "future-map-slots", f"step {batch.index} of {batch.rows} rows stores to slots {slots}"
        if any(not 0 <= slot < self._slots.capacity for slot in slots):
            yield "future-map-slots", f"step {batch.index} stores to slots {slots} of {self._slots.capacity}"
        if isinstance(self._slots, SlotRing):
            yield from self._ring(batch, slots)
        else:
            yield from self._named(batch, slots, self._slots)

    def _ring(self, batch: Batch, slots: tuple[int, ...]) -> Iterable[Complaint]:
        """Slots are nobody's who is in flight or read by who is; each row reads the step that last computed it."""
        flying = self._ledger.in_flight[:-1]
        for index, other in self._batches.items():
            if set(slots) & set(other.slots or ()):
                yield "future-map-reuse", f"step {batch.index} stores to slots of step {index}, which may be read"
        feeding = [b for b in flying if b.slots in batch.sources]
        for row in batch.members[: batch.decode_rows]:
            computing = [b for b in flying if row in b.members]
            if computing and computing[-1] not in feeding:
                told = f"step {batch.index} reads request {row.id} from no slot of step {computing[-1].index}"
                yield "future-map-written", told
        if tuple(b.slots for b in feeding) != batch.sources:
            yield "future-map-written", f"step {batch.index} reads slots {batch.sources} that no step in flight writes"
        self._batches[batch.index] = batch
        self._readers[batch.index] = set()
        for other in feeding:
            self._readers.setdefault(other.index, set()).add(batch.index)

    def _named(self, batch: Batch, slots: tuple[int, ...], mine: RequestSlots) -> Iterable[Complaint]:
        """A request keeps one slot, which is nobody else's."""
        held: dict[int, int] = {}
        for account in self._ledger.holding:
            slot = mine.slot(account.request.id)
            if slot in held:
                yield "future-map-reuse", f"requests {held[slot]} and {account.request.id} have slot {slot}"
            held[slot] = account.request.id
        for row, slot in zip(batch.members, slots, strict=False):
            if held.get(slot) != row.id:
                yield "future-map-written", f"step {batch.index} stores request {row.id} to slot {slot}, not its own"

    def found(self) -> Iterable[Complaint]:
        """After a result: slots are taken as long as a step in flight writes or reads them, and no longer."""
        if isinstance(self._slots, SlotRing):
            flying = {b.index for b in self._ledger.in_flight}
            self._readers = {index: readers & flying for index, readers in self._readers.items()}
            self._readers = {i: readers for i, readers in self._readers.items() if readers or i in flying}
            self._batches = {index: self._batches[index] for index in self._readers}
            for index, batch in self._batches.items():
                if self._slots.slots(index) != batch.slots:
                    yield "future-map-reuse", f"step {index} has slots {self._slots.slots(index)}, not {batch.slots}"
            due = sum(b.rows for b in self._batches.values())
        elif self._slots is not None:
            due = len(self._ledger.told)
        else:
            return
        if self._slots.num_live != due:
            yield "future-map-leak", f"{self._slots.num_live} slots are taken, {due} may still be read"
