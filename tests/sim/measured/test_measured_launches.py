"""Hops between streams, wake-ups, the interpreter lock, graph launches and launch queues on an H200."""

import pytest
from measured_rows import beyond, h200, median_error, shown

from sim.effects import Launch
from sim.machine.machine import Machine
from sim.program.ops import Graph, Kernel, Record, Replay
from sim.studies.micro import comparison, programs
from sim.studies.micro.programs import MAIN

BLOCKED = 5_000_000  # a call that takes longer has waited for the device


def test_hops_within_a_stream_and_across_come_out_within_10_percent() -> None:
    rows = shown(comparison.hops(h200()))
    assert [row.name for row in rows if "a hop" in row.name] == ["same a hop", "cross a hop"]
    assert beyond(rows, 10) == {}


def test_wake_ups_come_out_within_10_percent() -> None:
    assert beyond(shown(comparison.wakes(h200())), 10) == {}


def test_launches_beside_pure_python_come_out_within_10_percent() -> None:
    assert beyond(shown(comparison.gil(h200())), 10) == {}


def test_pure_python_beside_launches_is_hardly_slower() -> None:
    measured = h200().micro2["gil"]
    assert measured["pure_contended"] == pytest.approx(measured["pure_alone"], rel=0.05)
    micro = programs.beside_python(h200().add(4096), 3000, 30_000_000)
    timeline = Machine(h200().costs).run(micro.threads())
    (python,) = timeline.on_track("python")
    assert 30_000_000 <= python[2] - python[1] <= 1.05 * 30_000_000


def test_graph_launches_come_out_within_10_percent() -> None:
    rows = shown(comparison.graph_launches(h200()))
    assert len(rows) == 13 * 3 * 2
    assert beyond(rows, 10) == {}


def test_the_call_of_a_graph_launch_comes_out_within_10_percent_in_the_median() -> None:
    rows = shown(comparison.graph_calls(h200()))
    assert len(rows) == 39
    assert median_error(rows) <= 10


def test_launches_first_block_where_they_did() -> None:
    add = Launch([h200().add(1024)] * 3000, MAIN)
    micro = programs.first_blocked(h200().sleep(60_000), [add], "cudaLaunchKernel", BLOCKED)
    assert h200().micro["queue_depth_add"]["first_blocked"] == [1021]
    assert micro.predict(h200().costs) == 1021


def test_launches_on_two_streams_first_block_where_they_did() -> None:
    # only the odd ones wait for the shield, so the even ones never fill their queue
    fork = programs.forked({"odd": ()}, in_turns=False)[:2]
    work = [Launch([h200().sleep(0)], "odd" if i % 2 else "even") for i in range(2600)]
    micro = programs.first_blocked(h200().sleep(80_000), [*fork, *work], "cudaLaunchKernel", BLOCKED)
    assert h200().micro2["two_stream_queue_first_blocked"] == [2043]
    assert micro.predict(h200().costs) == 2043


def test_graph_launches_first_block_where_they_did() -> None:
    replay = Replay("graph", Graph((h200().add(4096),) * 10))
    micro = programs.first_blocked(h200().sleep(150_000), [Launch([replay] * 1500, MAIN)], "cudaGraphLaunch", BLOCKED)
    assert h200().micro2["graph_queue_first_blocked"] == [1021]
    assert micro.predict(h200().costs) == 1021


def test_events_never_block() -> None:
    records = Launch([Record("event")] * 3000, MAIN)
    micro = programs.first_blocked(h200().sleep(60_000), [records], "cudaEventRecord", BLOCKED)
    assert h200().micro["queue_depth_event"] == []
    assert micro.predict(h200().costs) == -1


def test_a_kernel_of_another_name_is_not_counted_as_blocked() -> None:
    micro = programs.first_blocked(Kernel("shield", "sleep", 1), [], "cudaLaunchKernel", 0)
    assert micro.predict(h200().costs) == -1
