"""FutureMap's steps with real slots: what the server's own objects do, printed."""

from __future__ import annotations

from collections.abc import Iterator

from sim.serving.batch import Batch, StepResult
from sim.serving.future_map import SlotOverrunError, SlotRing, reference, slot_of
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server

ROWS = 2


def server_of(capacity: int) -> Server:
    """A server of two computed requests and a ring of so many slots."""
    server = Server(Scheduler(KVCache(16, 16)), slots=SlotRing(capacity))
    server.add(tuple(Request(i, context=4, max_tokens=8, computed=True) for i in range(ROWS)))
    return server


def built(server: Server) -> Batch:
    """The next batch with its slots, not waiting for the one before."""
    batch = server.schedule()
    assert batch is not None
    server.prepare(batch)
    return batch


def inputs(batch: Batch) -> list[int]:
    """The symbolic tokens of a batch whose inputs nobody knows yet."""
    return [reference(slot) for piece in batch.sources for slot in piece]


def five_steps(capacity: int = 8) -> Iterator[str]:
    """Two batches of a run-ahead server: reserve, refer, run and store, resolve, run."""
    server, buffer = server_of(capacity), dict[int, int]()
    first = built(server)
    assert first.slots is not None
    yield f"1. batch {first.index} reserves slots {list(first.slots)} of {capacity} for the tokens it will sample"
    second = built(server)
    symbols = inputs(second)
    yield f"2. batch {second.index} is scheduled with inputs {symbols}: names of slots, no tokens"
    for row, slot in enumerate(first.slots):
        buffer[slot] = 1000 + row  # whatever the device samples
    yield f"3. batch {first.index} runs and stores its tokens: {buffer}"
    named = (slot_of(symbol) for symbol in symbols)
    resolved = [buffer[slot] for slot in named if slot is not None]
    yield f"4. the resolve kernel turns {symbols} into {resolved}"
    assert second.slots is not None
    yield f"5. batch {second.index} runs, and stores to slots {list(second.slots)}"
    server.process(first, StepResult(0))
    server.process(second, StepResult(0))
    third = built(server)
    assert third.slots is not None
    yield f"   once both are processed their slots are free: batch {third.index} reserves {list(third.slots)}"


def overrun(capacity: int = 2 * ROWS) -> str | None:
    """What a ring says that is too small for the batches in flight; None when three fit."""
    server = server_of(capacity)
    try:
        for _ in range(3):
            built(server)
    except SlotOverrunError as error:
        return str(error)
    return None
