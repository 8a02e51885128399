"""Why a mode gains: factors that multiply to the gain, and where it ends."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod

import pytest
from serving_worlds import tiny

from scenarios.loader import load_scenario
from sim.studies.serving import ServingRun
from sim.studies.why import break_evens, step_time, waterfall

WAYS = [
    ("serial-eager", "serial-graph", ["fewer launches", "smaller gaps"]),
    ("serial-eager", "overlap-eager", ["hidden host work", "FutureMap kernels"]),
    ("serial-graph", "overlap-graph", ["hidden host work", "FutureMap kernels"]),
    ("overlap-eager", "overlap-graph", ["fewer launches", "smaller gaps"]),
    ("serial-eager", "overlap-graph", ["fewer launches", "smaller gaps", "hidden host work", "FutureMap kernels"]),
]
RUN = ServingRun.of(tiny(batch=4))


@pytest.mark.parametrize(("base", "target", "causes"), WAYS)
@pytest.mark.parametrize("overrides", [(), ("host.jitter=true", "workload.stop_share=0.5", "engine.preset=pytorch")])
def test_the_factors_multiply_to_the_gain_exactly(
    base: str, target: str, causes: list[str], overrides: tuple[str, ...]
) -> None:
    run = ServingRun.of(tiny(*overrides, batch=4))
    found = waterfall(run, base, target)
    assert [factor.cause for factor in found.factors] == causes
    assert prod((factor.gain for factor in found.factors), start=Fraction(1)) == found.gain
    assert found.gain == step_time(run, base) / step_time(run, target)


def test_padding_is_a_factor_when_no_bucket_has_the_batchs_size_and_costs() -> None:
    found = waterfall(ServingRun.of(tiny("engine.buckets=[1, 64]", batch=3)), "serial-eager", "serial-graph")
    assert [factor.cause for factor in found.factors] == ["fewer launches", "smaller gaps", "padding to the bucket"]
    assert found.factors[2].gain < 1


def test_graphs_win_by_both_launches_and_gaps_and_the_future_maps_kernels_cost() -> None:
    run = replace(RUN, scale=0.6)
    gains = {factor.cause: factor.gain for factor in waterfall(run, "serial-eager", "overlap-graph").factors}
    assert gains["fewer launches"] > 1
    assert gains["smaller gaps"] > 1
    assert gains["hidden host work"] > 1
    assert gains["FutureMap kernels"] < 1


def test_overlap_loses_where_the_host_is_slower_than_the_device() -> None:
    """It launches more than a serial step does, and a model this small leaves it nothing to hide that behind."""
    gains = {
        factor.cause: factor.gain
        for factor in waterfall(replace(RUN, scale=9.0), "serial-graph", "overlap-graph").factors
    }
    assert gains["hidden host work"] < 1


def test_timers_have_neither_launches_to_save_nor_kernels_of_a_future_map() -> None:
    loaded = load_scenario("sleep-overlap", ["engine.modes=serial-eager,overlap-graph", "workload.output_tokens=12"])
    found = waterfall(ServingRun.of(loaded), "serial-eager", "overlap-graph")
    assert [factor.gain for factor in found.factors if factor.cause != "hidden host work"] == [1, 1, 1]
    assert found.gain > Fraction(3, 2)


@pytest.mark.parametrize(
    ("base", "target"),
    [("overlap-graph", "serial-eager"), ("serial-graph", "overlap-eager"), ("naive", "serial-eager")],
)
def test_no_waterfall_leads_backwards(base: str, target: str) -> None:
    with pytest.raises(ValueError, match=f"no waterfall leads from {base} to {target}"):
        waterfall(RUN, base, target)


def test_graphs_stop_paying_above_the_largest_bucket() -> None:
    run = ServingRun.of(tiny("engine.buckets=[1, 2, 4, 8, 16]", batch=4))
    overlap, graphs, _ = break_evens(run, ("serial-eager", "serial-graph", "overlap-graph"))
    assert (graphs.name, graphs.value) == ("graphs_batch", 16)
    assert graphs.text == "graphs stop paying above batch 16, the largest bucket"
    assert overlap.name == "overlap_batch"


def test_a_batch_beyond_the_search_that_still_pays_is_not_said_to_be_the_limit() -> None:
    run = ServingRun.of(load_scenario("sleep-overlap", ["workload.batch=600"]))
    (found,) = break_evens(run, ("serial-eager", "overlap-eager"))
    assert (found.value, found.text) == (None, "overlap still pays at batch 600")


def test_a_batch_that_does_not_pay_is_searched_downwards() -> None:
    run = ServingRun.of(tiny("engine.buckets=[1, 2, 4]", batch=8))
    found, missing = break_evens(run, ("serial-eager", "serial-graph"))
    assert missing.name == "missing_bucket"
    assert missing.text == f"a graph of 8 rows would be {missing.value:.2f}x, but none is captured"
    assert found.text == "graphs stop paying above batch 4"


def test_a_batch_above_the_largest_bucket_gains_nothing_from_graphs() -> None:
    run = ServingRun.of(tiny("engine.buckets=[1, 2, 4]", batch=8))
    (found,) = waterfall(run, "serial-eager", "serial-graph").factors
    assert (found.cause, found.gain) == ("graphs that no bucket fits", 1)


@pytest.mark.parametrize("tokens", range(1, 8))
def test_a_short_output_does_not_pass_its_draining_for_its_pace(tokens: int) -> None:
    run = ServingRun.of(tiny(batch=4, tokens=tokens))
    long = run.with_workload(output_tokens=40)
    assert step_time(run, "overlap-eager") > step_time(long, "overlap-eager") * Fraction(9, 10)


def test_overlap_with_nothing_to_hide_gains_nothing_at_any_batch() -> None:
    loaded = load_scenario("sleep-overlap", ["host.scale=0", "model.step=1s"])
    (found,) = break_evens(ServingRun.of(loaded), ("serial-eager", "overlap-eager"))
    assert (found.value, found.text) == (None, "overlap gains less than 1 % at every batch up to 4")


def test_a_host_as_fast_as_was_found_equals_graphs_and_a_slower_one_does_not() -> None:
    no_gaps = replace(RUN, constants=replace(RUN.constants, stream_gap=RUN.constants.graph_gap))
    *_, found = break_evens(no_gaps, ("serial-eager", "serial-graph"))
    assert found.name == "host_speed_that_equals_graphs"
    assert found.value is not None
    short = no_gaps.with_workload(output_tokens=12)
    goal = step_time(short, "serial-graph")
    speeds = (found.value, found.value / 1.03)
    fast, slow = (step_time(replace(short, scale=1 / speed), "serial-eager") for speed in speeds)
    assert fast <= goal < slow


def test_requests_that_stop_early_do_not_move_a_break_even() -> None:
    modes = ("serial-eager", "serial-graph", "overlap-graph")
    stopping = ServingRun.of(tiny("workload.stop_share=0.9", batch=4, tokens=40))
    assert break_evens(stopping, modes) == break_evens(RUN.with_workload(output_tokens=40), modes)


def test_what_two_threads_pay_for_their_lock_is_a_factor_of_its_own() -> None:
    run = ServingRun.of(tiny("engine.preset=sglang-v0.4", batch=4))
    costly = replace(run, constants=replace(run.constants, gil_handoff=0, other_thread_call=5_000))
    free = replace(run, constants=replace(run.constants, gil_handoff=0, other_thread_call=0))
    gains = [{f.cause: f.gain for f in waterfall(r, "serial-eager", "overlap-eager").factors} for r in (costly, free)]
    assert gains[0]["a second thread that launches"] == gains[1]["a second thread that launches"]
    assert gains[0]["the lock between the threads"] < gains[1]["the lock between the threads"] == 1


def test_there_are_no_break_evens_without_a_batch() -> None:
    run = ServingRun.of(load_scenario("decode-qwen3-0.6b", ["workload.rate=10/s"]))
    assert break_evens(run, ("serial-eager", "serial-graph")) == []
