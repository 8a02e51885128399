"""Clients who leave: their requests end at once, and what they hold returns once, with the last row in flight."""

from __future__ import annotations

from sim.serving.batch import Batch, Outputs, StepResult
from sim.serving.future_map import RequestSlots
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server

BLOCKS = 16


def serving(*requests: Request, chunked: bool = False) -> Server:
    """A server of 16 blocks of 4 tokens, with a slot for each request that holds some."""
    server = Server(Scheduler(KVCache(BLOCKS, 4), chunked=chunked, token_budget=4), slots=RequestSlots(4))
    server.add(requests)
    return server


def launched(server: Server) -> Batch:
    batch = server.schedule()
    assert batch is not None
    server.prepare(batch)
    return batch


def processed(server: Server) -> Outputs:
    return server.process(server.scheduler.in_flight[0], StepResult(0))


def held(server: Server) -> tuple[int, int]:
    assert server.slots is not None
    return BLOCKS - server.scheduler.kv.num_free, server.slots.num_live


def test_who_waits_is_never_admitted() -> None:
    server = serving(Request(0, 3, 5), Request(1, 3, 5))
    server.cancel(0)
    assert launched(server).admitted == (Request(1, 3, 5),)


def test_who_runs_keeps_blocks_and_slot_until_the_row_in_flight_is_back() -> None:
    server = serving(Request(0, 3, 5), Request(1, 3, 5, computed=True))
    launched(server)
    processed(server)
    batch = launched(server)
    assert [r.id for r in batch.members] == [0, 1]
    server.cancel(0)
    assert held(server) == (6, 2)
    assert [r.id for r in launched(server).members] == [1]
    outputs = processed(server)
    assert (outputs.tokens, outputs.late, outputs.finished, outputs.freed) == (1, 1, (), (0,))
    assert held(server) == (3, 1)


def test_who_has_no_row_in_flight_returns_everything_at_once() -> None:
    server = serving(Request(0, 3, 5, computed=True))
    launched(server)
    processed(server)
    server.cancel(0)
    assert held(server) == (0, 0)
    assert server.idle


def test_a_first_token_in_flight_is_dropped() -> None:
    server = serving(Request(0, 3, 5))
    launched(server)
    server.cancel(0)
    outputs = processed(server)
    assert (outputs.tokens, outputs.late, outputs.first, outputs.freed) == (0, 1, (), (0,))
    assert held(server) == (0, 0)
    assert server.idle


def test_the_rest_of_a_prompt_is_not_computed() -> None:
    server = serving(Request(0, 10, 5), chunked=True)
    assert launched(server).prompts[0].tokens == 4
    server.cancel(0)
    assert server.schedule() is None
    outputs = processed(server)
    assert (outputs.tokens, outputs.late, outputs.freed) == (0, 0, (0,))
    assert held(server) == (0, 0)


def test_who_has_ended_or_never_came_is_left_alone() -> None:
    server = serving(Request(0, 3, 2))
    launched(server)
    processed(server)
    launched(server)
    server.cancel(0)
    server.cancel(0)
    server.cancel(9)
    assert processed(server).late == 1
    server.cancel(0)
    assert server.idle
    assert held(server) == (0, 0)


def test_a_client_who_lost_its_blocks_left_and_comes_again_begins_anew() -> None:
    kv = KVCache(3, 4)
    scheduler = Scheduler(kv, grow=True)
    scheduler.add((Request(0, 4, 7, computed=True), Request(1, 2, 7)))
    while not (batch := scheduler.schedule()).preempted:  # type: ignore[union-attr]
        assert batch is not None
        scheduler.process(batch, StepResult(0))
    scheduler.cancel(1)
    scheduler.add((Request(1, 2, 7),))
    assert scheduler.left(Request(1, 2, 7)) == 2
