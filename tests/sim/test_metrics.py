"""Numbers of a timeline: hand-built ones with literal answers, and sums that hold in any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.effects import Effect, Launch, Loop, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Collective, Copy, Graph, Kernel, Op, Replay, Think
from sim.timeline.latency import Latencies
from sim.timeline.metrics import IDLE_PARTS, busy_intervals, idle_by_cause, steady, step_metrics
from sim.timeline.spans import Delivery, Kind, Place, Recorder, Served, Timeline


class World:
    """A timeline in the making: one host thread, streams by name, spans by literal times."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.host_track = self.recorder.track("scheduler", Place.HOST_THREAD)
        self.streams: dict[tuple[str, int], int] = {}

    def host(self, name: str, start: int, end: int, kind: Kind = Kind.HOST) -> World:
        self.recorder.span(self.host_track, start, end, kind, self.recorder.name(name))
        return self

    def wait(self, start: int, end: int) -> World:
        return self.host("cudaEventSynchronize", start, end, Kind.WAIT)

    def call(
        self, start: int, end: int, *work: tuple[int, int], stream: str = "forward", step: int = 0, rank: int = 0
    ) -> World:
        """A call, and the kernels that it launches."""
        if (stream, rank) not in self.streams:
            self.streams[stream, rank] = self.recorder.track(stream, Place.STREAM, rank)
        correlation = self.recorder.correlate()
        name = self.recorder.name("k")
        self.recorder.span(self.host_track, start, end, Kind.CALL, name, correlation, step)
        for begin, finish in work:
            self.recorder.span(self.streams[stream, rank], begin, finish, Kind.KERNEL, name, correlation, step)
        return self

    def deliver(self, time: int, step: int = 0, *, rows: int = 4, tokens: int = 4, prefill: bool = False) -> World:
        self.recorder.deliveries.append(Delivery(time, step, rows, tokens, prefill))
        return self

    def serve(self, number: int, arrival: int, first: int, last: int, tokens: int) -> World:
        self.recorder.served.append(Served(number, arrival, first, last, tokens, "length"))
        return self

    def idle(self, start: int, end: int) -> dict[str, int]:
        """The parts of the idle time that are not zero."""
        timeline = self.recorder.timeline()
        parts = idle_by_cause(timeline, busy_intervals(timeline, start, end), start, end)
        assert tuple(parts) == IDLE_PARTS
        return {cause: ns for cause, ns in parts.items() if ns}

    def busy(self, start: int, end: int, rank: int = 0) -> list[list[int]]:
        found: list[list[int]] = busy_intervals(self.recorder.timeline(), start, end, rank).tolist()
        return found


def deliveries(*rows: int, every: int = 100) -> list[Delivery]:
    return [Delivery(every * i, i, n, n, prefill=False) for i, n in enumerate(rows)]


def test_the_idle_time_of_a_serial_step_by_what_its_host_thread_did() -> None:
    world = World().call(0, 5, (10, 50)).wait(5, 53).host("process", 53, 60).host("receive", 60, 62)
    world.host("schedule", 62, 70).host("prepare", 70, 73).call(73, 80, (84, 90))
    assert world.idle(10, 90) == {
        "wake_up": 3, "process": 7, "schedule": 10, "prepare": 3, "launch": 7, "launch_latency": 4,
    }  # fmt: skip


def test_idle_time_after_the_call_has_returned_is_a_gap() -> None:
    assert World().call(0, 5, (10, 20)).call(5, 9, (23, 30), (34, 40)).idle(10, 40) == {"gap": 7}
    assert World().call(0, 5, (10, 20)).call(5, 20, (23, 30)).idle(10, 30) == {"gap": 3}  # at that very instant


def test_idle_time_that_no_span_of_the_thread_covers_is_no_work() -> None:
    world = World().call(0, 5, (5, 10)).host("no work", 10, 40, Kind.NO_WORK).host("schedule", 40, 45)
    assert world.call(50, 51, (51, 60)).idle(0, 60) == {"no_work": 35, "launch": 6, "schedule": 5}


def test_idle_time_is_charged_to_the_thread_that_launches_next() -> None:
    world = World().call(0, 10, (10, 20))
    other = world.recorder.track("other", Place.HOST_THREAD)
    world.recorder.span(other, 0, 100, Kind.HOST, world.recorder.name("prepare"))
    assert world.host("schedule", 10, 50).call(50, 60, (60, 70)).idle(10, 70) == {"schedule": 30, "launch": 10}


def test_idle_time_at_the_end_of_the_window_belongs_to_the_host_that_has_not_launched_yet() -> None:
    world = World().call(0, 5, (5, 20)).wait(5, 24).host("process", 24, 30)
    assert world.idle(5, 30) == {"wake_up": 4, "process": 6}
    assert world.host("schedule", 30, 50).call(50, 60, (60, 70)).idle(5, 40) == {
        "wake_up": 4, "process": 6, "schedule": 10,
    }  # fmt: skip


def test_each_rank_waits_for_its_own_work() -> None:
    world = World().call(0, 5, (5, 90), rank=1, stream="other").call(5, 40, (40, 50)).call(40, 45, (60, 70))
    world.call(45, 48, (60, 80), rank=1, stream="other")
    assert world.idle(0, 70) == {"launch": 40, "gap": 10}


def test_a_device_without_any_work_has_none() -> None:
    assert World().host("schedule", 0, 30).idle(0, 30) == {"no_work": 30}


def test_work_of_unknown_name_counts_as_processing() -> None:
    assert World().host("think", 0, 30).call(30, 40, (40, 50)).idle(0, 50) == {"process": 30, "launch": 10}


def test_what_a_framework_takes_around_its_calls_counts_as_launching() -> None:
    assert World().host("launch", 0, 30).call(30, 40, (40, 50)).idle(0, 50) == {"launch": 40}


def test_busy_time_is_the_union_of_all_streams_of_a_rank() -> None:
    world = World().call(0, 1, (10, 30)).call(1, 2, (20, 25), (40, 50), stream="copy").call(2, 3, (30, 35))
    world.call(3, 4, (45, 60), stream="side").call(4, 5, (0, 99), stream="other", rank=1)
    assert world.busy(0, 100) == [[10, 35], [40, 60]]
    assert world.busy(12, 42) == [[12, 35], [40, 42]]
    assert world.busy(0, 100, rank=1) == [[0, 99]]
    assert world.busy(61, 100) == []


def test_the_first_three_and_the_last_two_deliveries_of_the_full_batch_are_left_out() -> None:
    found = steady(deliveries(4, 4, 4, 4, 4, 4, 4, 4, 4))
    assert [d.step for d in found] == [3, 4, 5, 6]
    assert [d.step for d in steady(deliveries(4, 4, 4, 4, 4, 4, 4))] == [3, 4]


def test_fewer_than_seven_full_batches_have_no_steady_step() -> None:
    assert steady(deliveries(4, 4, 4, 4, 4, 4)) == steady([]) == []


def test_smaller_batches_and_prefills_are_no_steady_steps() -> None:
    mixed = deliveries(9, 4, 4, 4, 2, 4, 4, 4, 4, 1)
    mixed[0] = Delivery(0, 0, 9, 9, prefill=True)
    assert [d.step for d in steady(mixed)] == [5, 6]


def closed_world() -> World:
    """Ten steps of 100 ns: 60 of kernels, 10 of a gap, 10 a launch, 20 the host."""
    world = World()
    for step in range(10):
        at = 100 * step
        world.call(at, at + 10, (at + 10, at + 50), (at + 60, at + 80), step=step)
        world.host("process", at + 80, at + 100).deliver(at + 100, step, tokens=4 if step < 9 else 1)
    return world.serve(0, 0, 100, 1_000, 10)


def test_the_steps_of_a_closed_batch() -> None:
    found = step_metrics(closed_world().recorder.timeline())
    assert (found.step_ns, found.steps, found.window) == (100, 4, (400, 800))
    assert (found.busy_ns, found.device_busy, found.exposed_host_ns) == (60, 0.6, 30)
    assert {cause: ns for cause, ns in found.idle.items() if ns} == {"launch": 10, "gap": 10, "process": 20}
    assert (found.launches, found.kernels) == (1, 2)
    assert (found.tokens_per_s, found.late_rows) == (37 * 1e9 / 1_000, 3)


def test_an_open_loop_counts_from_the_first_arrival_to_the_last_delivery() -> None:
    world = World().host("no work", 0, 500, Kind.NO_WORK)
    world.call(500, 510, (510, 600), step=0).deliver(600, 0, rows=1, tokens=1, prefill=True)
    world.call(600, 610, (610, 700), step=1).deliver(700, 1, rows=1, tokens=1)
    world.host("no work", 700, 900, Kind.NO_WORK)
    world.call(900, 910, (910, 1_100), step=2).deliver(1_100, 2, rows=2, tokens=1)
    found = step_metrics(
        world.serve(0, 500, 600, 700, 2).serve(1, 900, 1_100, 1_100, 1).recorder.timeline(), closed=False
    )
    assert (found.step_ns, found.steps, found.window) == (200, 3, (500, 1_100))
    assert found.tokens_per_s == 3 * 1e9 / 600
    assert found.late_rows == 1
    assert found.busy_ns * 3 == 370
    assert {cause: ns * 3 for cause, ns in found.idle.items() if ns} == {"launch": 30, "no_work": 200}


def test_a_run_that_delivered_nothing_has_no_steps() -> None:
    with pytest.raises(ValueError, match="delivered no step"):
        step_metrics(World().call(0, 1, (1, 2)).recorder.timeline())


def test_latencies_of_three_requests() -> None:
    world = World().serve(0, 0, 10, 110, 11).serve(1, 100, 130, 130, 1).serve(2, 200, 250, 290, 3)
    found = Latencies.of(world.recorder.timeline()).as_json()
    shown = {
        name: found[name] for name in ("ttft_mean_us", "ttft_p50_us", "ttft_p99_us", "tpot_mean_us", "tpot_p99_us")
    }
    assert shown == {
        "ttft_mean_us": 0.03, "ttft_p50_us": 0.03, "ttft_p99_us": 0.05, "tpot_mean_us": 0.015, "tpot_p99_us": 0.02,
    }  # fmt: skip
    assert (found["e2e_p50_us"], found["itl_p50_us"], found["saturated"]) == (0.09, None, False)
    assert found["requests_per_s"] == pytest.approx(3 / 290e-9)


@pytest.mark.parametrize(("late", "saturated"), [(1, False), (2, True)])
def test_more_than_a_tenth_still_waiting_as_the_last_arrives_is_saturation(late: int, *, saturated: bool) -> None:
    world = World()
    for number in range(10):
        world.serve(number, number, 2_000 if number < late else 500, 2_000, 2)
    assert Latencies.of(world.serve(10, 1_000, 2_000, 2_001, 2).recorder.timeline()).saturated is saturated


def test_a_closed_batch_is_never_saturated() -> None:
    assert not Latencies.of(World().serve(0, 0, 10, 10, 1).serve(1, 0, 10, 10, 1).recorder.timeline()).saturated


times = st.integers(0, 30)
kernels = st.builds(Kernel, st.just("k"), st.sampled_from(("free", "slow")), times, st.sampled_from((0.25, 1.0)))
operations: st.SearchStrategy[Op] = st.one_of(
    kernels,
    st.builds(
        lambda name, body: Replay(name, Graph(tuple(body))),
        st.sampled_from("gh"),
        st.lists(kernels, min_size=1, max_size=3),
    ),
    st.builds(Copy, st.sampled_from(("h2d", "d2h")), times, st.just(0), st.booleans()),
    st.builds(Think, times, st.sampled_from(("schedule", "think", "prepare"))),
    st.builds(Collective, st.uuids(), st.just(1), times),
)
effects: st.SearchStrategy[Effect] = st.one_of(
    st.builds(Launch, st.lists(operations, max_size=6), st.sampled_from(("a", "b"))), st.just(Wait("device"))
)
constants = st.builds(
    Constants,
    launch_call=times, graph_launch_call=times, copy_call=times, launch_latency=times, graph_launch_latency=times,
    stream_gap=times, graph_gap=times, replay_gap=times, stream_switch=times, wake_device=times, device_sync_call=times,
    gil_switch_interval=st.integers(31, 60), gil_handoff=times, queue_depth=st.sampled_from((1, 2, 99)),
)  # fmt: skip


def program(effects: list[Effect]) -> Loop[None]:
    for effect in effects:  # noqa: UP028  a list cannot be sent the answers
        yield effect
    yield Wait("device")


@given(st.lists(st.lists(effects, max_size=6), min_size=1, max_size=2), constants, st.data())
def test_busy_and_the_parts_of_idle_add_up_to_any_window(
    threads: list[list[Effect]], machine: Constants, data: st.DataObject
) -> None:
    host = {str(i): program(thread) for i, thread in enumerate(threads)}
    timeline: Timeline = Machine(HostCosts(machine, {"slow": 7})).run(host)
    last = int(timeline.column("end").max()) + 5
    start = data.draw(st.integers(0, last))
    end = data.draw(st.integers(start, last))
    busy = busy_intervals(timeline, start, end)
    parts = idle_by_cause(timeline, busy, start, end)
    assert int((busy[:, 1] - busy[:, 0]).sum()) + sum(parts.values()) == end - start
    assert min(parts.values()) >= 0
    covered = {
        t for _, a, b, *_ in timeline.table[timeline.on_device].tolist() for t in range(max(a, start), min(b, end))
    }
    assert {t for a, b in busy.tolist() for t in range(a, b)} == covered
