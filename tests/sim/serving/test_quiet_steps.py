"""Quiet steps: a server that advances at once is where one that goes step by step is."""

from __future__ import annotations

import pytest

from sim.serving.batch import Batch, Chunk, Phase, StepResult
from sim.serving.future_map import SlotRing
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server
from sim.serving.source import RequestSource

LENGTHS = (30, 12)


def running(ahead: int) -> tuple[Server, list[Batch]]:
    """Two requests after three decode steps, ``ahead`` of which are in flight."""
    server = Server(Scheduler(KVCache(64)), slots=SlotRing(64))
    server.add(tuple(Request(i, 10 + i, tokens, computed=True) for i, tokens in enumerate(LENGTHS)))
    batches: list[Batch] = []
    for _ in range(3):
        step(server, batches, ahead)
    return server, batches


def step(server: Server, batches: list[Batch], ahead: int) -> None:
    batch = server.schedule()
    assert batch is not None
    server.prepare(batch)
    batches.append(batch)
    while len(batches) > ahead:
        server.process(batches.pop(0), StepResult(0))


def seen(batch: Batch) -> tuple[object, ...]:
    return (batch.index, batch.counter, batch.rows, batch.decode_context, batch.finishing, batch.joined, batch.members)


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_advance_is_that_many_steps(ahead: int) -> None:
    # the second request's twelfth token comes with batch 12, which has nothing to tell before it comes back
    for steps in range(1, 9 + ahead):
        (quick, in_flight), (slow, others) = running(ahead), running(ahead)
        assert quick.quiet_steps(None) == 8 + ahead
        quick.advance(steps)
        for _ in range(steps):
            step(slow, others, ahead)
        assert list(map(seen, in_flight)) == list(map(seen, others))
        while not quick.idle:
            step(quick, in_flight, ahead if len(in_flight) else 0)
            step(slow, others, ahead if len(others) else 0)
            assert list(map(seen, in_flight)) == list(map(seen, others))
            if quick.scheduler.num_running == 0:
                break


def test_a_known_stop_ends_the_quiet() -> None:
    server, _ = running(1)
    assert server.quiet_steps(stop=7) == 4  # batch 3 is in flight: results 3 to 6 have nothing to tell
    assert server.quiet_steps(stop=3) == 0


def test_what_waits_or_has_just_joined_is_not_quiet() -> None:
    server, _ = running(0)
    server.add((Request(9, 5, 5),))
    assert server.quiet_steps(None) == 0
    fresh = Server(Scheduler(KVCache(64)))
    fresh.add((Request(0, 5, 9, computed=True),))
    assert fresh.quiet_steps(None) == 0
    assert fresh.schedule() is not None
    assert fresh.quiet_steps(None) == 0  # its first batch still has to tell who joined


def joining() -> tuple[Server, list[Batch]]:
    """A request decodes, another has had its first token; the batch that it joined is in flight."""
    server, batches = running(1)
    server.add((Request(7, 20, 15),))
    for _ in range(2):
        step(server, batches, 1)
    assert [r.id for r in batches[0].joined] == [7]
    return server, batches


def test_a_batch_that_rows_joined_after_their_first_token_is_quiet() -> None:
    for steps in range(1, 9):
        (quick, in_flight), (slow, others) = joining(), joining()
        assert quick.quiet_steps(None) == 8
        quick.advance(steps)
        for _ in range(steps):
            step(slow, others, 1)
        for _ in range(20):
            assert list(map(seen, in_flight)) == list(map(seen, others))
            if not quick.scheduler.num_running:
                break
            step(quick, in_flight, 1)
            step(slow, others, 1)


def test_a_stop_of_a_row_that_has_joined_is_foreseen_before_its_batch_comes_back() -> None:
    requests = [Request(7, 20, 15)]
    for stop, quiet in ((2, 0), (3, 1), (5, 3)):
        server, batches = joining()
        source = RequestSource(requests, {7: stop})
        source.stopped(Batch(0, Phase.PREFILL, 1, 20, 0, (requests[0],), prompts=(Chunk(requests[0], 0, 20, 1),)))
        assert server.quiet_steps(source.next_stop(batches[0])) == quiet
        assert source.next_stop(batches[0]) == source.next_stop()  # told once
        assert source.stopped(batches[0]) == ((7,) if stop == 2 else ())


def test_a_batch_that_tells_who_lost_blocks_is_not_quiet() -> None:
    server, batches = running(1)
    batches[0].preempted = (Request(8, 5, 5),)
    assert server.quiet_steps(None) == 0


def test_rows_that_fill_their_blocks_end_the_quiet_where_too_few_are_free() -> None:
    server = Server(Scheduler(KVCache(3, 16), grow=True))
    server.add(tuple(Request(i, 10, 30, computed=True) for i in range(2)))
    step(server, [], 0)
    assert server.quiet_steps(None) == 5  # batches 2 to 6 write tokens 12 to 16, batch 7 needs two blocks more


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("blocks", [26, 200])
def test_blocks_that_grow_are_handed_out_on_the_way_while_there_are_any(blocks: int, ahead: int) -> None:
    def growing() -> tuple[Server, list[Batch]]:
        server, batches = Server(Scheduler(KVCache(blocks, 4), grow=True)), list[Batch]()
        server.add(tuple(Request(i, 10 + 3 * i, 60, computed=True) for i in range(4)))
        for _ in range(3):
            step(server, batches, ahead)
        return server, batches

    (quick, in_flight), (slow, others) = growing(), growing()
    steps = quick.quiet_steps(None)
    assert (steps == 57 + ahead - 1) == (blocks == 200)  # 26 blocks are too few for 60 tokens of each
    assert steps > 3
    used = quick.kv_blocks(steps)
    quick.advance(steps)
    cache, came_back = slow.scheduler.kv, []
    for _ in range(steps):
        oldest = others[0].kv_blocks if others else None
        step(slow, others, ahead)
        came_back.append(cache.num_blocks - cache.num_free if oldest is None else oldest)
    assert used[:steps] == came_back
    assert quick.scheduler.kv.num_free == slow.scheduler.kv.num_free
    assert [quick.scheduler.kv.table(i) for i in range(4)] == [slow.scheduler.kv.table(i) for i in range(4)]
    assert [batch.kv_blocks for batch in in_flight] == [batch.kv_blocks for batch in others]
    assert quick.quiet_steps(None) == 0
