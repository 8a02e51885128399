"""The emulated device: what runs after what, and what beside what. Orders of spans alone, no durations."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from emulated_worlds import MS, kernel, program, run, spans
from hypothesis import given
from hypothesis import strategies as st

from gpu.machines.emulated import EmulatedDevice
from gpu.machines.graph_plan import graph_plan
from gpu.machines.wall import WallMachine
from gpu.session import open_session
from scenarios.loader import load_scenario
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Collective, Copy, Graph, Kernel, Record, Replay, Think, WaitEvent
from sim.serving.source import NoRequests
from sim.timeline.spans import Kind

LONG = 60 * MS
"""Of what has to be running still when something else starts, even where other programs take the processor."""


def test_a_stream_runs_its_kernels_in_order_one_at_a_time() -> None:
    found = run(program(("main", [kernel(name, MS) for name in "abcde"])))
    for before, after in pairwise(found[name] for name in "abcde"):
        assert before.end <= after.start


def test_streams_run_side_by_side() -> None:
    found = run(program(("main", [kernel("a", LONG)]), ("side", [kernel("b", LONG)])))
    assert found["b"].start < found["a"].end
    assert found["a"].start < found["b"].end


def test_kernels_that_fill_the_device_take_turns() -> None:
    found = run(program(("main", [kernel("a", 5 * MS, 1.0)]), ("side", [kernel("b", 5 * MS, 1.0)])))
    assert found["a"].end <= found["b"].start or found["b"].end <= found["a"].start


def test_a_stream_waits_for_an_event_of_another_and_its_host_does_not() -> None:
    found = run(
        program(
            ("main", [kernel("a", LONG), Record("e"), kernel("c", LONG)]),
            ("side", [WaitEvent("e"), kernel("b")]),
        )
    )
    assert found["a"].end <= found["b"].start < found["c"].end
    assert found["cudaStreamWaitEvent"].end < found["a"].end


def test_waiting_for_an_event_that_nobody_has_recorded_is_no_wait() -> None:
    found = run(program(("main", [WaitEvent("never"), kernel("a", LONG)]), last="never"))
    assert found["cudaEventSynchronize"].end < found["a"].end


def test_the_host_waits_for_an_event_and_not_for_what_comes_after_it() -> None:
    found = run(program(("main", [kernel("a"), Record("e"), kernel("b", LONG)]), last="e"))
    assert found["a"].end <= found["cudaEventSynchronize"].end < found["b"].end


def test_copies_of_one_direction_take_turns_and_opposite_ones_do_not() -> None:
    copies = [("one", [Copy("h2d", LONG)]), ("two", [Copy("h2d", LONG)]), ("three", [Copy("d2h", LONG)])]
    device = EmulatedDevice(HostCosts(Constants()))
    timeline = WallMachine(device, lambda *_: 0).run({"host": program(*copies)}, NoRequests())
    one, two, three = (next(s for s in spans(timeline) if s.track == name and "Memcpy" in s.name) for name, _ in copies)
    assert one.end <= two.start or two.end <= one.start
    assert three.start < min(one.end, two.end)


def test_a_pageable_copy_holds_its_caller() -> None:
    found = run(program(("main", [Copy("d2h", 2 * MS, pinned=False)])))
    assert found["Memcpy DtoH (Pageable)"].end <= found["cudaMemcpy"].end


def test_one_executable_never_runs_twice_at_once() -> None:
    one, two = (Replay("g", Graph((kernel(name, 3 * MS),))) for name in "ab")
    found = run(program(("main", [one]), ("side", [two])))
    assert found["a"].end <= found["b"].start or found["b"].end <= found["a"].start


def test_branches_of_a_graph_run_side_by_side_between_fork_and_join() -> None:
    graph = Graph(tuple(kernel(name) for name in "abcd"), ((), (0,), (0,), (1, 2)))
    found = run(program(("main", [Replay("g", graph)])))
    assert found["a"].end <= min(found["b"].start, found["c"].start)
    assert max(found["b"].start, found["c"].start) < min(found["b"].end, found["c"].end)
    assert max(found["b"].end, found["c"].end) <= found["d"].start
    assert {found[name].correlation for name in "abcd"} == {found["cudaGraphLaunch"].correlation}


def test_a_full_queue_blocks_the_next_call_until_a_launch_starts() -> None:
    device = EmulatedDevice(HostCosts(Constants(queue_depth=1)))
    loop = program(("main", [kernel(name, LONG) for name in "abc"]))
    found = spans(WallMachine(device, lambda *_: 0).run({"host": loop}, NoRequests()))
    (b,) = (s for s in found if s.name == "b")
    calls = [s for s in found if s.name == "cudaLaunchKernel"]
    assert calls[1].end < b.start <= calls[2].end


def test_each_kernel_belongs_to_the_call_that_launched_it() -> None:
    device = EmulatedDevice(HostCosts(Constants()))
    loop = program(("main", [kernel("k"), Think(MS), kernel("k")]))
    timeline = WallMachine(device, lambda *_: 0).run({"host": loop}, NoRequests())
    calls = {s.correlation: s for s in spans(timeline) if s.name == "cudaLaunchKernel"}
    kernels = [s for s in spans(timeline) if s.name == "k"]
    assert sorted(s.correlation for s in kernels) == sorted(calls)
    assert all(calls[s.correlation].start <= s.start for s in kernels)
    assert int((timeline.column("kind") == Kind.HOST).sum()) == 1


def test_the_calls_of_a_thread_follow_one_another() -> None:
    timeline = open_session(load_scenario("launch-chain", ["count=50"]), "emulated").run("eager")
    rows = timeline.on_track("main")  # the thread's; its stream of the same name comes after it
    assert (rows[1:, 1] >= rows[:-1, 2]).all()


def test_a_host_thread_that_fails_and_a_device_that_is_asked_too_much_end_the_run() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(TypeError, match="nobody to meet"):
        run(program(("main", [kernel("a"), Collective("all", 2, MS)])))
    assert sys.getswitchinterval() == before


def test_what_fails_in_a_stream_is_raised_and_nobody_waits_for_it() -> None:
    broken = Replay("g", Graph((Kernel("k", "bare", "soon"),)))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        run(program(("main", [broken, Record("e")]), last="e"))


@pytest.mark.parametrize(("mode", "hidden"), [("serial-eager", False), ("overlap-eager", True)])
def test_overlap_schedules_the_next_batch_while_one_computes(mode: str, hidden: bool) -> None:
    loaded = load_scenario("sleep-overlap", ["workload.output_tokens=5", "model.step=60ms"])
    timeline = open_session(loaded, "emulated").run(mode)
    step, start, end = (timeline.column(name) for name in ("step", "start", "end"))
    of = {name: timeline.names.index(name) for name in ("schedule", "timer")}
    for number in (1, 2):
        (scheduled,) = start[(timeline.column("name") == of["schedule"]) & (step == number + 1)]
        (computed,) = end[(timeline.column("name") == of["timer"]) & (step == number)]
        assert (scheduled < computed) == hidden


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs whose kernels all have room beside each other."""
    number = draw(st.integers(1, 8))
    kernels = tuple(Kernel(f"k{i}", "bare", draw(st.integers(1, 50)), 0.1) for i in range(number))
    after = tuple(tuple(sorted(draw(st.sets(st.integers(0, i - 1))))) if i else () for i in range(number))
    return Graph(kernels, draw(st.sampled_from([None, after])))


@given(graphs(), st.integers(0, 5), st.integers(0, 5))
def test_a_graph_is_planned_as_it_is_simulated(graph: Graph, gap: int, join: int) -> None:
    constants = Constants(graph_gap=gap, graph_join_gap=join)
    loop = program(("main", [Replay("g", graph)]))
    simulated = {s.name: s for s in spans(Machine(HostCosts(constants)).run({"host": loop}))}
    first = simulated["k0"].start
    expected = [(simulated[k.name].start - first, simulated[k.name].end - first) for k in graph.kernels]
    assert list(graph_plan(graph, constants)) == expected


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_branches_without_room_beside_each_other_are_planned_in_turn(lengths: list[int]) -> None:
    graph = Graph(tuple(Kernel("k", "bare", ns, 1.0) for ns in lengths), ((),) * len(lengths))
    plan = graph_plan(graph, Constants())
    assert all(before[1] == after[0] for before, after in pairwise(plan))
    assert plan[-1][1] == sum(lengths)
