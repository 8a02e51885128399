"""Eager launches on one stream: what a call costs, and when its kernel starts."""

from __future__ import annotations

from dataclasses import replace

from machine_worlds import host, kernel, program, run, spans

from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Kernel, Op, Think


def test_a_kernel_starts_the_launch_latency_after_its_call_on_an_idle_device() -> None:
    timeline = run(program(("main", [kernel("k", 500)])), launch_call=100, launch_latency=40, stream_gap=7)
    assert host(timeline) == [("cudaLaunchKernel", 0, 100), ("cudaDeviceSynchronize", 100, 640)]
    assert spans(timeline) == [("k", 140, 640)]


def test_kernels_that_end_before_the_next_call_leave_the_device_idle() -> None:
    timeline = run(program(("main", [kernel("k", 10)] * 3)), launch_call=100, launch_latency=40, stream_gap=7)
    assert spans(timeline) == [("k", 140, 150), ("k", 240, 250), ("k", 340, 350)]


def test_a_backlog_starts_one_gap_after_the_kernel_before_and_pays_no_latency() -> None:
    timeline = run(program(("main", [kernel("k", 500)] * 3)), launch_call=100, launch_latency=40, stream_gap=7)
    assert spans(timeline) == [("k", 140, 640), ("k", 647, 1147), ("k", 1154, 1654)]
    assert [end for _, _, end in host(timeline)] == [100, 200, 300, 1654]


def test_a_launch_that_comes_during_the_gap_starts_at_the_later_of_gap_and_latency() -> None:
    timeline = run(program(("main", [kernel("k", 50)] * 2)), launch_call=100, launch_latency=40, stream_gap=90)
    assert spans(timeline) == [("k", 140, 190), ("k", 280, 330)]
    timeline = run(program(("main", [kernel("k", 50)] * 2)), launch_call=100, launch_latency=40, stream_gap=49)
    assert spans(timeline) == [("k", 140, 190), ("k", 240, 290)]


def test_the_framework_adds_to_the_bare_call_by_operation_and_the_scale_multiplies_both() -> None:
    costs = HostCosts(Constants(launch_call=100), framework={"add": 50}, framework_default=20, scale=1.5)
    ops: list[Op] = [Kernel("a", "add", 0), Kernel("b", "mul", 0)]
    timeline = Machine(costs).run({"host": program(("main", ops))})
    assert host(timeline)[:2] == [("cudaLaunchKernel", 0, 225), ("cudaLaunchKernel", 225, 405)]


def test_thinking_delays_the_next_launch_and_enqueues_nothing() -> None:
    ops: list[Op] = [kernel("k", 10), Think(1_000, "plan"), kernel("k", 10)]
    timeline = run(program(("main", ops)), launch_call=100)
    assert spans(timeline) == [("k", 100, 110), ("k", 1_200, 1_210)]
    assert host(timeline)[1] == ("plan", 100, 1_100)


def test_a_kernel_carries_the_correlation_of_its_call() -> None:
    timeline = run(program(("main", [kernel("a", 5), kernel("b", 5)])), launch_call=100)
    calls = timeline.on_track("host")[:2, 5].tolist()
    assert timeline.on_track("main")[:, 5].tolist() == calls == [1, 2]


def test_costs_of_a_changed_copy_are_its_own() -> None:
    costs = HostCosts(Constants(launch_call=100))
    Machine(costs).run({"host": program(("main", [kernel("k", 0)]))})
    timeline = Machine(replace(costs, scale=3.0)).run({"host": program(("main", [kernel("k", 0)]))})
    assert host(timeline)[0] == ("cudaLaunchKernel", 0, 300)
