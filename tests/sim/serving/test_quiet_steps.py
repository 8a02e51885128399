"""Quiet steps: a server that advances at once is where one that goes step by step is."""

from __future__ import annotations

import pytest

from sim.serving.batch import Batch, StepResult
from sim.serving.future_map import SlotRing
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server

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
    for steps in range(1, 9):
        (quick, in_flight), (slow, others) = running(ahead), running(ahead)
        assert quick.quiet_steps(None) == 8  # the second request's twelfth token comes with batch 12
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
