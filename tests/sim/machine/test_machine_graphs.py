"""Graph replays: gaps inside and between them, what launching one costs, and what one executable forbids."""

from __future__ import annotations

import pytest
from machine_worlds import Piece, chain, host, kernel, program, run, spans

from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Copy, Graph, Kernel, Op, Record, Replay

A, B, C, D = (kernel(name, ns, sm=0.25) for name, ns in (("a", 100), ("b", 200), ("c", 300), ("d", 50)))


def graph(*nodes: tuple[Kernel, tuple[int, ...]]) -> Replay:
    """A replay of a graph given as kernels with the positions that they wait for."""
    return Replay("g", Graph(tuple(k for k, _ in nodes), tuple(deps for _, deps in nodes)))


def test_a_chain_needs_one_call_and_has_the_graphs_own_gap() -> None:
    constants = {"graph_launch_call": 100, "graph_launch_latency": 30, "graph_gap": 7, "stream_gap": 900}
    timeline = run(program(("main", [chain("g", 10, 20, 30)])), **constants)
    assert host(timeline) == [("cudaGraphLaunch", 0, 100), ("cudaDeviceSynchronize", 100, 204)]
    assert spans(timeline) == [("g0", 130, 140), ("g1", 147, 167), ("g2", 174, 204)]


def test_call_and_latency_grow_with_the_nodes() -> None:
    constants = {
        "graph_launch_call": 100,
        "graph_launch_call_per_1000_nodes": 4_000,
        "graph_launch_latency": 30,
        "graph_launch_latency_per_1000_nodes": 2_000,
    }
    timeline = run(program(("main", [chain("g", *[1] * 250)])), **constants)
    assert host(timeline)[0] == ("cudaGraphLaunch", 0, 1_100)
    assert spans(timeline)[0] == ("g0", 1_630, 1_631)


def test_the_first_replay_is_dearer_once_per_executable() -> None:
    constants = {"graph_launch_call": 100, "first_replay": 1_000, "first_replay_per_1000_nodes": 500_000}
    ops: list[Op] = [chain("g", 1, 1), chain("g", 1, 1), chain("h", 1), chain("g", 1, 1), chain("h", 1)]
    calls = [end - start for _, start, end in host(run(program(("main", ops)), **constants))[:-1]]
    assert calls == [2_100, 100, 1_600, 100, 100]


def test_an_executable_that_is_warm_has_had_its_first_replay() -> None:
    machine = Machine(HostCosts(Constants(graph_launch_call=100, first_replay=1_000)))
    timeline = machine.run({"host": program(("main", [chain("g", 1), chain("h", 1)]))}, warm=["g"])
    assert [end for _, _, end in host(timeline)][:2] == [100, 1_200]


def test_replays_that_follow_each_other_are_a_replay_gap_apart_and_others_a_stream_gap() -> None:
    ops: list[Op] = [chain("g", 100), chain("h", 100), Record("e"), chain("g", 100), kernel("k", 100), chain("h", 100)]
    timeline = run(program(("main", ops)), replay_gap=5, stream_gap=30)
    assert [start for _, start, _ in spans(timeline)] == [0, 105, 210, 340, 470]


def test_a_copy_between_two_replays_parts_them_by_stream_gaps() -> None:
    timeline = run(program(("main", [chain("g", 100), Copy("h2d", 50), chain("h", 100)])), replay_gap=5, stream_gap=30)
    assert [(start, end) for _, start, end in spans(timeline)] == [(0, 100), (130, 180), (210, 310)]


def test_parallel_branches_start_a_gap_after_their_parent_and_a_join_after_the_last_of_them() -> None:
    replay = graph((A, ()), (B, (0,)), (C, (0,)), (D, (1, 2)))
    timeline = run(program(("main", [replay])), graph_gap=10, graph_join_gap=25)
    assert spans(timeline) == [("a", 0, 100), ("b", 110, 310), ("c", 110, 410), ("d", 435, 485)]


def test_all_roots_start_together_and_the_replay_ends_with_its_last_kernel() -> None:
    replay = graph((A, ()), (B, ()), (C, ()), (D, (0,)))
    timeline = run(program(("main", [replay, kernel("k", 10)])), graph_gap=10, graph_launch_latency=40)
    assert spans(timeline) == [("a", 40, 140), ("b", 40, 240), ("c", 40, 340), ("d", 150, 200), ("k", 340, 350)]


def test_branches_that_fill_the_device_take_turns() -> None:
    full = [kernel(name, 100) for name in "abc"]
    timeline = run(program(("main", [graph((full[0], ()), (full[1], (0,)), (full[2], (0,)))])))
    assert spans(timeline) == [("a", 0, 100), ("b", 100, 200), ("c", 200, 300)]


def test_a_chain_spelled_out_runs_as_a_chain() -> None:
    spelled = graph((A, ()), (B, (0,)), (C, (1,)))
    implied = Replay("g", Graph((A, B, C)))
    timelines = [
        run(program(("main", [r, r])), graph_gap=7, replay_gap=3, graph_join_gap=99) for r in (spelled, implied)
    ]
    assert spans(timelines[0]) == spans(timelines[1])


def test_one_executable_never_runs_beside_itself_whatever_the_streams() -> None:
    pieces: list[Piece] = [("main", [chain("g", 300, 300)]), ("side", [chain("g", 100)])]
    timeline = run(program(*pieces), graph_launch_call=10, graph_launch_latency=5)
    assert spans(timeline) == [("g0", 15, 315), ("g1", 315, 615)]
    assert spans(timeline, "side") == [("g0", 615, 715)]


def test_two_executables_of_one_graph_do_run_side_by_side() -> None:
    body = Graph((kernel("a", 300, sm=0.5), kernel("b", 300, sm=0.5)))
    pieces: list[Piece] = [("main", [Replay("g", body)]), ("side", [Replay("h", body)])]
    timeline = run(program(*pieces), graph_launch_call=10)
    assert spans(timeline) == [("a", 10, 310), ("b", 310, 610)]
    assert spans(timeline, "side") == [("a", 20, 320), ("b", 320, 620)]


def test_replays_of_one_executable_on_three_streams_queue_in_the_order_of_their_launches() -> None:
    timeline = run(program(*((s, [chain("g", 100)]) for s in ("main", "side", "third"))), graph_launch_call=10)
    assert [spans(timeline, s)[0][1] for s in ("main", "side", "third")] == [10, 110, 210]


def test_an_earlier_launch_of_an_executable_comes_first_though_its_stream_is_still_busy() -> None:
    pieces: list[Piece] = [("main", [kernel("k", 50), chain("g", 100)]), ("side", [chain("g", 100)])]
    timeline = run(program(*pieces), graph_launch_call=10)
    assert spans(timeline) == [("k", 0, 50), ("g0", 50, 150)]
    assert spans(timeline, "side") == [("g0", 150, 250)]


@pytest.mark.parametrize(
    ("kernels", "after", "words"),
    [
        ((), None, "at least one kernel"),
        ((A, B), ((),), "2 kernels but 1 dependency lists"),
        ((A, B), ((1,), ()), "only for earlier ones"),
        ((A, B), ((), (1,)), "only for earlier ones"),
    ],
)
def test_a_graph_without_an_order_is_refused(
    kernels: tuple[Kernel, ...], after: tuple[tuple[int, ...], ...] | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Graph(kernels, after)
