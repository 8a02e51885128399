"""The launch queue: launch i returns at the later of its call's end and the start of its stream's launch i - Q."""

from __future__ import annotations

from itertools import pairwise

from machine_worlds import Piece, chain, host, kernel, program, run, spans

from sim.program.ops import Copy, Op, Record, WaitEvent
from sim.timeline.spans import Timeline


def returns(timeline: Timeline) -> list[int]:
    """When each call returns, the final synchronize left out."""
    return [end for _, _, end in host(timeline)[:-1]]


def test_a_launch_that_finds_the_queue_full_blocks_until_launch_i_minus_depth_starts() -> None:
    timeline = run(program(("main", [kernel("k", 1_000)] * 6)), launch_call=100, queue_depth=2)
    assert spans(timeline)[:4] == [("k", 100, 1_100), ("k", 1_100, 2_100), ("k", 2_100, 3_100), ("k", 3_100, 4_100)]
    assert returns(timeline) == [100, 200, 300, 1_100, 2_100, 3_100]


def test_with_room_for_one_a_launch_waits_for_the_start_of_the_one_before_not_of_its_own() -> None:
    timeline = run(program(("main", [kernel("k", 1_000)] * 3)), launch_call=100, launch_latency=5_000, queue_depth=1)
    assert spans(timeline) == [("k", 5_100, 6_100), ("k", 6_100, 7_100), ("k", 10_200, 11_200)]
    assert returns(timeline) == [100, 5_100, 6_100]


def test_a_gap_before_a_blocked_launchs_predecessor_belongs_to_the_block() -> None:
    timeline = run(program(("main", [kernel("k", 1_000)] * 4)), launch_call=100, stream_gap=50, queue_depth=1)
    assert [start for _, start, _ in spans(timeline)] == [100, 1_150, 2_200, 3_250]
    assert returns(timeline) == [100, 200, 1_150, 2_200]


def test_a_full_queue_paces_the_host_at_the_devices_speed_and_an_empty_one_never_blocks() -> None:
    slow = returns(run(program(("main", [kernel("k", 1_000)] * 2_000)), launch_call=100))
    assert slow[:1_022] == [100 * i for i in range(1, 1_023)]
    assert {b - a for a, b in pairwise(slow[1_200:])} == {1_000}
    fast = returns(run(program(("main", [kernel("k", 50)] * 2_000)), launch_call=100))
    assert fast == [100 * i for i in range(1, 2_001)]


def test_events_take_no_slot() -> None:
    ops: list[Op] = [kernel("k", 1_000), kernel("k", 1_000), Record("e"), WaitEvent("e"), Record("f"), kernel("k", 9)]
    timeline = run(program(("main", ops)), launch_call=100, event_record_call=10, event_wait_call=20, queue_depth=2)
    assert returns(timeline) == [100, 200, 210, 230, 240, 340]


def test_a_graph_takes_one_slot_however_many_kernels_it_has() -> None:
    ops: list[Op] = [chain("a", *[100] * 50), chain("b", *[100] * 50), chain("c", 100), chain("d", 100)]
    timeline = run(program(("main", ops)), graph_launch_call=10, queue_depth=2)
    assert returns(timeline) == [10, 20, 30, 5_010]


def test_a_copy_takes_a_slot() -> None:
    ops: list[Op] = [kernel("k", 1_000), Copy("d2h", 500), kernel("k", 9)]
    timeline = run(program(("main", ops)), launch_call=100, copy_call=10, queue_depth=1)
    assert returns(timeline) == [100, 110, 1_100]


def test_every_stream_has_its_own_queue() -> None:
    one, other = [kernel("a", 1_000, sm=0.5)] * 3, [kernel("b", 1_000, sm=0.5)] * 3
    timeline = run(program(("main", one), ("side", other)), launch_call=100, queue_depth=2)
    assert returns(timeline) == [100, 200, 300, 400, 500, 600]


def test_a_replay_that_waits_for_its_executable_has_not_started() -> None:
    pieces: list[Piece] = [("main", [chain("g", 10_000)]), ("side", [chain("g", 10), kernel("k", 10), kernel("k", 10)])]
    timeline = run(program(*pieces), graph_launch_call=10, launch_call=100, queue_depth=1)
    assert spans(timeline, "side") == [("g0", 10_010, 10_020), ("k", 10_020, 10_030), ("k", 10_110, 10_120)]
    assert returns(timeline) == [10, 20, 10_010, 10_110]


def test_a_copy_that_waits_for_its_engine_has_not_started() -> None:
    pieces: list[Piece] = [("main", [Copy("h2d", 10_000)]), ("side", [Copy("h2d", 500)] * 3)]
    timeline = run(program(*pieces), copy_call=100, queue_depth=1)
    assert [start for _, start, _ in spans(timeline, "side")] == [10_100, 10_600, 11_100]
    assert returns(timeline) == [100, 200, 10_100, 10_600]


def test_a_kernel_that_waits_for_the_front_end_has_not_started() -> None:
    pieces: list[Piece] = [("main", [kernel("a", 10_000, sm=0.5)]), ("side", [kernel("b", 10, sm=0.5)] * 2)]
    timeline = run(program(*pieces), launch_call=100, dispatch_interval=1_000, queue_depth=1)
    assert [start for _, start, _ in spans(timeline, "side")] == [1_100, 1_110]
    assert returns(timeline) == [100, 200, 1_100]
