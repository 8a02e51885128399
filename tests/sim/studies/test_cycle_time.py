"""The cycle time of a repeating step: the largest mean cycle of its matrix, which a long simulation settles to."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from serving_worlds import tiny

from scenarios.loader import load_scenario
from scenarios.model import TimerModel
from sim.fast.cycle import largest_mean
from sim.fast.launch_queue import NEVER
from sim.studies.serving import ServingRun
from sim.timeline.metrics import pace

RUN = ServingRun.of(tiny("workload.output_tokens=200", batch=2))
ns = st.sampled_from((0, 1, 300, 4_000, 70_000))


def mean_by_hand(matrix: list[list[int]]) -> Fraction:
    """Every simple cycle, one by one."""
    nodes = range(len(matrix))
    cycles = (p for size in range(1, len(matrix) + 1) for p in permutations(nodes, size))
    means = []
    for cycle in cycles:
        weights = [matrix[to][start] for start, to in pairwise((*cycle, cycle[0]))]
        if all(weight > NEVER for weight in weights):
            means.append(Fraction(sum(weights), len(weights)))
    return max(means, default=Fraction(0))


@given(st.integers(1, 4).flatmap(lambda n: st.lists(
    st.lists(st.one_of(st.just(NEVER), st.integers(0, 50)), min_size=n, max_size=n), min_size=n, max_size=n)
))  # fmt: skip
def test_the_largest_mean_is_that_of_some_cycle_and_none_is_larger(matrix: list[list[int]]) -> None:
    assert largest_mean(np.array(matrix, dtype=np.int64)) == mean_by_hand(matrix)


@pytest.mark.parametrize("gained", [700, 10])
def test_a_host_that_gains_on_its_device_until_it_pays_a_wake_up_repeats_no_step(gained: int) -> None:
    """So many ns a step, and 4 us to wake up: it waits every few steps, or every few hundred, late in between."""
    costs = dict.fromkeys(("launch_call", "launch_latency", "stream_gap", "event_sync_call"), 0)
    run = RUN.with_workload(output_tokens=1200)
    run = replace(
        run, model=TimerModel(kind="timer", step="1ms"), constants=replace(run.constants, wake_spin=4_000, **costs)
    )
    cycle = run.cycle("overlap-eager")
    assert cycle is not None
    device = cycle.host + gained
    run = replace(run, model=TimerModel(kind="timer", step=f"{device}ns"))
    times = [d.time for d in replace(run, machine="reference").timeline("overlap-eager").deliveries]
    periods = {after - before for before, after in pairwise(times[100:1190])}
    assert min(periods) < device < max(periods)
    assert run.cycle("overlap-eager") is None


@settings(max_examples=60)
@given(
    step=st.integers(1, 300),
    costs=st.fixed_dictionaries(dict.fromkeys(("launch_call", "launch_latency", "stream_gap", "event_sync_call"), ns)),
    wake=ns,
    scale=st.sampled_from((0.0, 0.5, 1.0, 7.0)),
    mode=st.sampled_from(("serial-eager", "overlap-eager")),
)
def test_a_long_simulation_settles_to_the_cycle_time_exactly(
    step: int, costs: dict[str, int], wake: int, scale: float, mode: str
) -> None:
    """Timers do not change with the context, so the step that repeats is one and the same."""
    run = replace(
        RUN, model=TimerModel(kind="timer", step=f"{step}us"), scale=scale,
        constants=replace(RUN.constants, wake_spin=wake, **costs),
    )  # fmt: skip
    times = [d.time for d in replace(run, machine="reference").timeline(mode).deliveries]
    cycle = run.cycle(mode)
    assume(cycle is not None)  # waits that are late every other time make two steps, not one, repeat themselves
    assert cycle is not None
    assert Fraction(times[-2] - times[-14], 12) == cycle.step


def test_the_words_say_what_wins() -> None:
    run = ServingRun.of(load_scenario("decode-llama-3.1-8b"))
    words = {mode: str(run.cycle(mode)) for mode in ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")}
    assert words == {
        "serial-eager": "5,564 us of device work a step, and then 192.3 us of waiting for the host",
        "serial-graph": "5,294 us of device work a step, and then 113.7 us of waiting for the host",
        "overlap-eager": "5,554 us of device work a step: device-bound by 2.0x",
        "overlap-graph": "5,283 us of device work a step: device-bound by 31.1x",
    }


@pytest.mark.parametrize("mode", ["serial-eager", "serial-graph", "overlap-eager", "overlap-graph"])
@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("decode-llama-3.1-8b", ["workload.batch=1"]),
        ("decode-qwen3-0.6b", ["host.scale=2"]),
        ("decode-qwen3-0.6b", ["engine.preset=pytorch"]),
        ("scheduling-overhead", []),
    ],
)
def test_what_the_words_blame_is_what_would_gain(name: str, sets: list[str], mode: str) -> None:
    """Kernels, or a host, that are 1 % faster shorten a step whose cycle goes through them, and no other."""
    run = replace(ServingRun.of(load_scenario(name, [*sets, "workload.output_tokens=16"])), machine="fast")
    kernels = run.scenario.kernels.model_copy(update={"scale": 0.99})
    faster = replace(run, scenario=run.scenario.model_copy(update={"kernels": kernels}))
    step, by_kernels, by_host = (
        pace(each.timeline(mode, spans=False)).step_ns for each in (run, faster, replace(run, scale=0.99 * run.scale))
    )
    cycle = run.cycle(mode)
    assert cycle is not None
    assert cycle.step == pytest.approx(step, rel=0.003)
    assert (by_kernels < step) == (cycle.bound != "host")
    assert (by_host < step) == (cycle.bound != "device")


def test_the_cycle_time_of_a_growing_context_is_that_of_one_of_its_steps() -> None:
    run = ServingRun.of(load_scenario("decode-llama-3.1-8b", ["workload.output_tokens=12"]))
    for mode in ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph"):
        times = [d.time for d in run.timeline(mode).deliveries]
        cycle = run.cycle(mode)
        assert cycle is not None
        assert float(cycle.step) == pytest.approx(times[-4] - times[-5], rel=1e-3)


def test_a_loop_that_waits_for_the_device_after_every_call_has_none() -> None:
    assert RUN.cycle("naive") is None
