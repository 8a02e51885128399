"""Collectives across ranks, each with its own host thread and device."""

from __future__ import annotations

import pytest
from machine_worlds import Span, kernel, run, spans

from sim.effects import DEVICE, Get, Launch, Loop, Put, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Collective, Graph, Op, Replay, Think
from sim.timeline.spans import Timeline


def rank(*ops: Op) -> Loop[None]:
    yield Launch(ops, "main")
    yield Wait(DEVICE)


def run_ranks(*loops: Loop[None], **constants: int) -> Timeline:
    """One thread and one device a rank."""
    threads = {f"rank {number}": loop for number, loop in enumerate(loops)}
    ranks = {name: number for number, name in enumerate(threads)}
    return Machine(HostCosts(Constants(**constants))).run(threads, ranks=ranks)


def on_rank(timeline: Timeline, number: int) -> list[Span]:
    return spans(timeline, f"main (rank {number})" if number else "main")


def test_a_collective_runs_from_the_last_arrival_and_ends_for_all_at_once() -> None:
    loops = [rank(kernel("a", ns), Collective("reduce", 3, 40), kernel("z", 10)) for ns in (100, 300, 200)]
    timeline = run_ranks(*loops, stream_gap=5)
    assert on_rank(timeline, 0) == [("a", 0, 100), ("collective reduce", 105, 345), ("z", 350, 360)]
    assert on_rank(timeline, 1) == [("a", 0, 300), ("collective reduce", 305, 345), ("z", 350, 360)]
    assert on_rank(timeline, 2) == [("a", 0, 200), ("collective reduce", 205, 345), ("z", 350, 360)]


def test_a_slow_host_of_one_rank_holds_up_the_others_devices() -> None:
    timeline = run_ranks(
        rank(Collective("reduce", 2, 40)),
        rank(Think(1_000), Collective("reduce", 2, 40)),
        launch_call=100,
        launch_latency=20,
    )
    assert on_rank(timeline, 0) == [("collective reduce", 120, 1_160)]
    assert on_rank(timeline, 1) == [("collective reduce", 1_120, 1_160)]


def test_a_rank_that_waits_inside_a_collective_keeps_its_multiprocessors() -> None:
    def early() -> Loop[None]:
        yield Launch([Collective("reduce", 2, 100, sm=0.5)], "main")
        yield Launch([kernel("k", 200)], "side")
        yield Wait(DEVICE)

    timeline = run_ranks(early(), rank(Think(1_000), Collective("reduce", 2, 100, sm=0.5)))
    assert on_rank(timeline, 0) == [("collective reduce", 0, 1_100)]
    assert spans(timeline, "side") == [("k", 0, 400)]  # on the half that the collective leaves


def test_a_rank_that_waits_inside_a_graphs_collective_keeps_its_multiprocessors() -> None:
    replay = Replay("g", Graph((kernel("a", 10), Collective("reduce", 2, 100, sm=0.5))))

    def early() -> Loop[None]:
        yield Launch([replay, Think(50)], "main")
        yield Launch([kernel("k", 200)], "side")
        yield Wait(DEVICE)

    timeline = run_ranks(early(), rank(Think(1_000), replay))
    assert on_rank(timeline, 0) == [("a", 0, 10), ("collective reduce", 10, 1_110)]
    assert spans(timeline, "side") == [("k", 50, 450)]


def test_a_key_can_be_used_again_once_its_collective_has_begun() -> None:
    timeline = run_ranks(*[rank(Collective("reduce", 2, 40), Collective("reduce", 2, 60)) for _ in range(2)])
    both = [("collective reduce", 0, 40), ("collective reduce", 40, 100)]
    assert on_rank(timeline, 0) == on_rank(timeline, 1) == both


def test_a_collective_takes_a_slot_until_its_rank_enters() -> None:
    ops: list[Op] = [kernel("a", 1_000), Collective("reduce", 1, 50), kernel("b", 10), kernel("c", 10)]
    timeline = run_ranks(rank(*ops), launch_call=100, queue_depth=1)
    assert [end for _, _, end in spans(timeline, "rank 0")[:-1]] == [100, 200, 1_100, 1_200]


def test_a_collective_costs_what_the_framework_charges_for_one() -> None:
    costs = HostCosts(Constants(launch_call=100), framework={"collective": 900})
    timeline = Machine(costs).run({"rank 0": rank(Collective("reduce", 1, 50))})
    assert spans(timeline, "rank 0")[0] == ("cudaLaunchKernel", 0, 1_000)


def test_ranks_hand_each_other_work() -> None:
    def leader() -> Loop[None]:
        yield Launch([Think(500)])
        yield Put("work", [kernel("k", 10)])

    def follower() -> Loop[None]:
        ops = yield Get("work")
        yield Launch(ops, "main")
        yield Wait(DEVICE)

    timeline = run_ranks(leader(), follower(), launch_call=100, gil_handoff=9_999)
    assert on_rank(timeline, 1) == [("k", 600, 610)]


def test_a_collective_without_all_its_ranks_is_a_deadlock_whether_or_not_a_thread_waits_for_it() -> None:
    def launches_only() -> Loop[None]:
        yield Launch([Collective("reduce", 2, 40)], "main")

    with pytest.raises(RuntimeError, match=r"host threads wait for ever: rank 0$"):
        run_ranks(rank(Collective("reduce", 2, 40)))
    with pytest.raises(RuntimeError, match="collectives that a rank never entered: reduce"):
        run_ranks(launches_only())


def test_threads_that_get_from_each_other_first_are_a_deadlock() -> None:
    def polite(mine: str, yours: str) -> Loop[None]:
        yield Get(mine)
        yield Put(yours, "after you")

    def content() -> Loop[None]:
        yield Launch([Think(10)])

    with pytest.raises(RuntimeError, match=r"host threads wait for ever: one, two$"):
        run({"one": polite("a", "b"), "two": polite("b", "a"), "three": content()})
