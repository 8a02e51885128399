"""Streams side by side: turns at the front end, and shares of the multiprocessors."""

from __future__ import annotations

import pytest
from machine_worlds import Piece, chain, kernel, program, run, spans

from sim.effects import DEVICE, Launch, Loop, Wait
from sim.machine.clock import Callback, Clock
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Record, Think, WaitEvent


def test_a_kernel_behind_one_that_fills_the_device_waits_for_it() -> None:
    timeline = run(program(("main", [kernel("a", 1_000)]), ("side", [kernel("b", 1_000)])))
    assert spans(timeline) == [("a", 0, 1_000)]
    assert spans(timeline, "side") == [("b", 1_000, 2_000)]


def test_a_later_kernel_takes_what_an_earlier_one_leaves_and_is_slower_for_it() -> None:
    timeline = run(program(("main", [kernel("a", 1_000, sm=0.75)]), ("side", [kernel("b", 1_000, sm=0.5)])))
    assert spans(timeline) == [("a", 0, 1_000)]
    assert spans(timeline, "side") == [("b", 0, 1_500)]  # half of its share for 1000, then all of it


def test_kernels_that_fit_together_run_undisturbed() -> None:
    timeline = run(program(("main", [kernel("a", 1_000, sm=0.5)]), ("side", [kernel("b", 700, sm=0.5)])))
    assert spans(timeline) == [("a", 0, 1_000)]
    assert spans(timeline, "side") == [("b", 0, 700)]


def test_two_halves_fill_the_device() -> None:
    halves: list[Piece] = [(stream, [kernel("half", 1_000, sm=0.5)]) for stream in ("main", "side")]
    assert spans(run(program(*halves, ("third", [kernel("c", 100)]))), "third") == [("c", 1_000, 1_100)]


def test_a_later_kernel_never_slows_an_earlier_one() -> None:
    timeline = run(program(("main", [kernel("a", 1_000)]), ("side", [kernel("b", 300)])), launch_call=100)
    assert spans(timeline) == [("a", 100, 1_100)]
    assert spans(timeline, "side") == [("b", 1_100, 1_400)]


def test_three_staggered_kernels_of_unequal_shares() -> None:
    pieces: list[Piece] = [
        ("main", [kernel("a", 600)]),
        ("side", [kernel("b", 200, sm=0.5)]),
        ("third", [kernel("c", 50, sm=0.5)]),
    ]
    timeline = run(program(*pieces), launch_call=90)
    # b and c come at 180 and 270 and find the device full; at 690 both find their halves
    assert spans(timeline) == [("a", 90, 690)]
    assert spans(timeline, "side") == [("b", 690, 890)]
    assert spans(timeline, "third") == [("c", 690, 740)]


def test_a_graph_shares_with_a_stream_beside_it() -> None:
    pieces: list[Piece] = [("main", [chain("g", 100, 100)]), ("side", [kernel("b", 150)])]
    timeline = run(program(*pieces), graph_gap=20, launch_call=40)
    assert spans(timeline) == [("g0", 0, 100), ("g1", 250, 350)]  # b got the device in the graph's gap
    assert spans(timeline, "side") == [("b", 100, 250)]


def test_a_neighbour_that_comes_during_a_graphs_gap_changes_only_what_starts_after() -> None:
    pieces: list[Piece] = [("main", [chain("g", 100, 100)]), ("side", [Think(110)]), ("side", [kernel("b", 50)])]
    timeline = run(program(*pieces), graph_gap=20)
    assert spans(timeline) == [("g0", 0, 100), ("g1", 160, 260)]
    assert spans(timeline, "side") == [("b", 110, 160)]


def test_a_neighbour_that_comes_while_a_graphs_kernel_runs_takes_nothing_from_it() -> None:
    pieces: list[Piece] = [("main", [chain("g", 100, 100)]), ("side", [Think(150)]), ("side", [kernel("b", 50)])]
    timeline = run(program(*pieces), graph_gap=20)
    assert spans(timeline) == [("g0", 0, 100), ("g1", 120, 220)]  # 30 of its 100 have passed when b comes
    assert spans(timeline, "side") == [("b", 220, 270)]


def test_a_stream_by_itself_costs_one_event_a_kernel_before_and_after_it_had_a_neighbour() -> None:
    """What its speed rests on: nothing is asked, shared out or booked again while no other stream has kernels."""

    def loop() -> Loop[None]:
        for stream in ("main", "main", "side", "main"):
            yield Launch([kernel("k", 10)] * 5, stream)
            if stream != "main":
                yield Wait(DEVICE)
        yield Wait(DEVICE)
        yield Launch([kernel("k", 10)] * 5, "main")
        booked.clear()
        yield Launch([kernel("k", 10)] * 5, "main")  # onto a stream that has work already
        yield Wait(DEVICE)
        yield Launch([kernel("k", 10)] * 5, "side")
        yield Wait(DEVICE)

    booked: list[int] = []

    class Counted(Clock):
        def call_at(self, time: int, callback: Callback, value: object = None) -> None:
            booked.append(time)
            super().call_at(time, callback, value)

    machine = Machine(HostCosts(Constants()))
    machine.clock = Counted()
    machine.run({"host": loop()})
    assert len(booked) == 4 + 5 + 5  # one of ten on main was booked before


def test_an_end_is_booked_once_while_a_kernels_share_stays_the_same() -> None:
    pieces: list[Piece] = [(s, [kernel("k", ns, sm=0.25)]) for s, ns in (("main", 50), ("side", 40), ("third", 30))]
    ends: list[int] = []

    class Counted(Clock):
        def call_at(self, time: int, callback: Callback, value: object = None) -> None:
            if getattr(callback, "__name__", "") == "_ended":
                ends.append(time)
            super().call_at(time, callback, value)

    machine = Machine(HostCosts(Constants()))
    machine.clock = Counted()
    machine.run({"host": program(*pieces)})
    assert sorted(ends) == [30, 40, 50]


def test_a_neighbour_that_only_waits_changes_nothing() -> None:
    alone = run(program(("main", [kernel("a", 100), chain("g", 10, 10), kernel("b", 100), Record("e")])), stream_gap=7)
    pieces: list[Piece] = [
        ("third", [kernel("x", 0), Record("e")]),
        ("side", [WaitEvent("late"), kernel("y", 0)]),
        ("main", [kernel("a", 100), chain("g", 10, 10), kernel("b", 100), Record("e")]),
    ]
    assert spans(run(program(*pieces), stream_gap=7)) == spans(alone)


def test_the_front_end_starts_kernels_of_two_streams_a_dispatch_interval_apart() -> None:
    pieces: list[Piece] = [(stream, [kernel("k", 1_000, sm=0.25)]) for stream in ("main", "side", "third")]
    timeline = run(program(*pieces), dispatch_interval=30)
    assert [spans(timeline, s)[0][1] for s in ("main", "side", "third")] == [0, 30, 60]


def test_a_start_in_the_future_keeps_nobody_from_starting_before_it() -> None:
    pieces: list[Piece] = [("main", [chain("g", 10)]), ("side", [kernel("b", 10)])]
    timeline = run(program(*pieces), graph_launch_latency=1_000, launch_call=100, dispatch_interval=30)
    assert spans(timeline, "side") == [("b", 100, 110)]
    assert spans(timeline) == [("g0", 1_000, 1_010)]


def test_turns_are_given_in_the_order_of_readiness() -> None:
    pieces: list[Piece] = [("main", [kernel("a", 100, sm=0.5)] * 2), ("side", [kernel("b", 500, sm=0.5)])]
    timeline = run(program(*pieces), launch_call=70, dispatch_interval=60)
    # b is ready at 210 and a's second at 170: a, a, b
    assert spans(timeline) == [("a", 70, 170), ("a", 170, 270)]
    assert spans(timeline, "side") == [("b", 230, 730)]


def test_a_single_stream_knows_neither_dispatch_interval_nor_switch() -> None:
    timeline = run(program(("main", [kernel("k", 10)] * 3)), dispatch_interval=500, stream_switch=900)
    assert spans(timeline) == [("k", 0, 10), ("k", 10, 20), ("k", 20, 30)]


def test_a_switch_between_streams_is_paid_by_a_kernel_that_was_waiting_not_by_one_that_is_just_in() -> None:
    pieces: list[Piece] = [
        ("main", [kernel("a", 1_000, sm=0.5), Record("e")]),
        ("side", [WaitEvent("e"), kernel("b", 10, sm=0.5)]),
    ]
    assert spans(run(program(*pieces), stream_switch=40), "side") == [("b", 1_040, 1_050)]
    just_in = run(program(("main", [kernel("a", 100)]), ("side", [kernel("b", 10)])), launch_call=500, stream_switch=40)
    assert spans(just_in, "side") == [("b", 1_000, 1_010)]


@pytest.mark.parametrize("late", [5, 10, 20])
def test_a_newcomer_during_a_switch_does_not_start_the_switch_anew(late: int) -> None:
    def loop() -> Loop[None]:
        yield Launch([kernel("a", 100), Record("e")], "main")
        yield Launch([WaitEvent("e"), kernel("b", 10, sm=0.5)], "side")
        yield Wait("e")
        yield Launch([kernel("c", 10, sm=0.5)], "third")

    timeline = run(loop(), stream_switch=40, wake_spin=late)
    assert spans(timeline, "side") == [("b", 140, 150)]
