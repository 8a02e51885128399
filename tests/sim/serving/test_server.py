"""The server: buckets and slots of each batch, and when slots are free again."""

from __future__ import annotations

import pytest

from sim.serving.batch import Batch, Phase, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import RequestSlots, SlotOverrunError, SlotRing
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server

NOTHING_STOPPED = StepResult(time=0)


def served(*requests: Request, slots: SlotRing | None = None, buckets: Buckets | None = None) -> Server:
    server = Server(Scheduler(KVCache(64)), buckets, slots)
    server.add(requests)
    return server


def prepared(server: Server) -> Batch:
    batch = server.schedule()
    assert batch is not None
    server.prepare(batch)
    return batch


def computed(number: int) -> Request:
    return Request(number, context=5, max_tokens=9, computed=True)


def test_a_decode_batch_runs_in_a_bucket_and_a_prefill_eager() -> None:
    server = served(*(Request(i, 5, max_tokens=9) for i in range(3)), buckets=Buckets([2, 4]))
    batches = [prepared(server), prepared(server)]
    assert [(b.phase, b.bucket, b.padding) for b in batches] == [(Phase.PREFILL, None, 0), (Phase.DECODE, 4, 1)]


def test_a_batch_above_the_largest_bucket_runs_eager() -> None:
    server = served(*(computed(i) for i in range(3)), buckets=Buckets([2]))
    assert prepared(server).bucket is None


def test_without_a_ring_inputs_name_no_slots() -> None:
    server = served(computed(0))
    batches = [prepared(server), prepared(server)]
    assert [(b.slots, b.sources) for b in batches] == [(None, ()), (None, ())]


def test_a_step_names_the_slots_of_the_step_that_feeds_it() -> None:
    server = served(computed(0), computed(1), slots=SlotRing(8))
    batches = [prepared(server)]
    for _ in range(3):
        batches.append(prepared(server))
        server.process(batches[-2], NOTHING_STOPPED)
    assert [b.slots for b in batches] == [range(2), range(2, 4), range(4, 6), range(6, 8)]
    assert [b.sources for b in batches] == [(), (range(2),), (range(2, 4),), (range(4, 6),)]


def test_a_step_whose_feeder_is_back_names_no_slots() -> None:
    server = served(computed(0), slots=SlotRing(8))
    for _ in range(3):
        batch = prepared(server)
        assert batch.sources == ()
        server.process(batch, NOTHING_STOPPED)


def test_slots_are_free_when_their_reader_is_back() -> None:
    server = served(computed(0), computed(1), slots=SlotRing(8))
    assert server.slots is not None
    first, second = prepared(server), prepared(server)
    live = []
    for batch in (first, second):
        server.process(batch, NOTHING_STOPPED)
        live.append(server.slots.num_live)
    assert live == [4, 0]


def test_a_prefill_reads_no_slots_and_feeds_the_decode_after_it() -> None:
    server = served(computed(0), slots=SlotRing(8))
    decode = prepared(server)
    server.add((Request(1, 5, max_tokens=9), Request(2, 5, max_tokens=9)))
    prefill = prepared(server)
    server.process(decode, NOTHING_STOPPED)
    after = prepared(server)
    assert (decode.slots, prefill.slots, after.slots) == (range(1), range(1, 3), range(3, 6))
    assert (prefill.sources, after.sources) == ((), (range(1, 3),))


def test_two_steps_ahead_rows_from_before_a_prefill_read_their_own_step() -> None:
    server = served(computed(0), slots=SlotRing(8))
    assert server.slots is not None
    decode = prepared(server)
    server.add((Request(1, 5, max_tokens=9),))
    prefill, after = prepared(server), prepared(server)
    assert after.sources == (range(1), range(1, 2))
    live = []
    for batch in (decode, prefill, after):
        server.process(batch, NOTHING_STOPPED)
        live.append(server.slots.num_live)
    assert live == [4, 4, 0]


def test_a_ring_too_small_for_the_steps_in_flight_overruns() -> None:
    server = served(computed(0), computed(1), slots=SlotRing(4))
    prepared(server)
    prepared(server)
    with pytest.raises(SlotOverrunError, match="step 2 would overwrite"):
        prepared(server)


def test_a_server_is_idle_when_its_last_result_is_digested() -> None:
    server = served()
    assert (server.idle, server.schedule()) == (True, None)
    server.add((Request(0, 5, max_tokens=1),))
    assert not server.idle
    batch = prepared(server)
    assert (server.idle, server.schedule()) == (False, None)
    server.process(batch, NOTHING_STOPPED)
    assert server.idle


def test_a_request_keeps_its_slot_from_its_first_step_until_its_last_row_was_processed() -> None:
    slots = RequestSlots(8)
    server = Server(Scheduler(KVCache(64)), slots=slots)
    server.add((Request(0, 4, 2, computed=True), Request(1, 4, 3, computed=True)))
    first = prepared(server)
    assert (list(first.slots or ()), slots.num_live) == ([0, 1], 2)
    server.add((Request(2, 4, 2),))
    prefill = prepared(server)
    assert (list(prefill.slots or ()), slots.num_live) == ([2], 3)
    server.process(first, StepResult(0, stopped=(0,)))
    assert slots.num_live == 2
    second = prepared(server)
    assert [slots.slot(r.id) for r in second.members] == list(second.slots or ())
    server.process(prefill, StepResult(0))
    server.process(second, StepResult(0))
    third = prepared(server)
    server.process(third, StepResult(0))
    assert (server.idle, slots.num_live) == (True, 0)


def test_a_batch_that_comes_again_is_prepared() -> None:
    server = served(computed(0), slots=SlotRing(4), buckets=Buckets([2]))
    prepared(server)
    again = server.again()
    assert again is not None
    assert (again.bucket, again.slots, again.sources) == (2, range(1, 2), (range(1),))
