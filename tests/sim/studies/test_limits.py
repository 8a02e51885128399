"""The shipped scenarios in which overlap or graphs do not help: the sign of each, and the mechanism that is named."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import pytest

from scenarios.loader import load_scenario
from sim.studies.results import run_all
from sim.studies.serving import ServingRun
from sim.studies.why import Waterfall, break_evens, step_time, waterfall
from sim.timeline.first_tokens import FirstTokens


def run(name: str, *changes: str) -> ServingRun:
    return ServingRun.of(load_scenario(name, ["workload.output_tokens=16", *changes]))


def causes(found: Waterfall) -> dict[str, float]:
    assert prod((f.gain for f in found.factors), start=Fraction(1)) == found.gain
    return {f.cause: float(f.gain) for f in found.factors}


def test_a_second_thread_loses_to_the_lock_and_to_nothing_else() -> None:
    found = waterfall(run("limits-two-threads"), "serial-eager", "overlap-eager")
    gains = causes(found)
    assert found.gain < 0.8
    assert gains.pop("the lock between the threads") < 0.8
    assert all(0.98 < gain < 1.1 for gain in gains.values())


def test_with_graphs_the_same_two_threads_gain() -> None:
    graphs = run("limits-two-threads", "engine.modes=serial-graph,overlap-graph")
    assert waterfall(graphs, "serial-graph", "overlap-graph").gain > 1


def test_padding_to_twice_the_size_loses_more_than_graphs_save() -> None:
    found = waterfall(run("limits-padding"), "serial-eager", "serial-graph")
    gains = causes(found)
    assert found.gain < 0.85
    assert gains["padding to the bucket"] < 0.8
    closer = run("limits-padding", "engine.buckets=[136,256]")
    assert waterfall(closer, "serial-eager", "serial-graph").gain > 1


def test_above_the_largest_bucket_graphs_are_eager_and_the_missing_one_is_named() -> None:
    above = run("limits-largest-bucket", "engine.modes=serial-eager,serial-graph")
    assert step_time(above, "serial-eager") == step_time(above, "serial-graph")
    found = {point.name: point for point in break_evens(above, ("serial-eager", "serial-graph"))}
    gain = found["missing_bucket"].value
    assert gain is not None
    assert gain > 1.05
    captured = run("limits-largest-bucket", "engine.buckets=[256,288]")
    actual = step_time(captured, "serial-eager") / step_time(captured, "serial-graph")
    assert gain == pytest.approx(float(actual), rel=0.01)  # of fewer steps, at shorter contexts


def test_masks_longer_than_the_forward_pass_leave_overlap_nothing() -> None:
    masks = run("limits-masks")
    found = waterfall(masks, "serial-graph", "overlap-graph")
    gains = causes(found)
    assert 0.97 < found.gain < 1.01
    assert gains["sampling that waits for masks"] < 0.75
    short = waterfall(run("limits-masks", "engine.host.mask.per_row=20us"), "serial-graph", "overlap-graph")
    assert causes(short)["sampling that waits for masks"] > 0.99
    assert short.gain > 1.03


def test_every_loop_is_a_factor_of_its_own() -> None:
    changes = ["workload.batch=4", "engine.modes=serial-graph,overlap-graph"]
    expected = {
        "chapter": ["graphs that are waited for"],
        "tensorrt-llm": ["sampling launched late"],
        "vllm-v0-multistep": ["rounds of steps"],
        "vllm-v1-async": ["a second thread for results", "the lock between the threads"],
        "sglang": [],
    }
    for engine, own in expected.items():
        tiny = run("decode-qwen3-0.6b", "model=tiny", f"engine.preset={engine}", *changes)
        found = waterfall(tiny, "serial-graph", "overlap-graph")
        assert list(causes(found)) == ["hidden host work", "FutureMap kernels", *own]


def test_prefill_that_fills_the_device_gains_nothing_from_either() -> None:
    results = run_all(load_scenario("limits-prefill", ["workload.requests=24"]))
    rates = [found["tokens_per_s"] for found in results.modes.values()]
    assert max(rates) / min(rates) < 1.005
    assert results.modes["serial-eager"]["device_busy"] > 0.99
    assert "0.4% of serial-eager's time is there to be filled" in results.reasons[0]


def test_late_admission_costs_few_clients_steps_and_first_tokens() -> None:
    loaded = load_scenario("limits-few-clients")
    results = run_all(loaded, replications=1)
    serial, overlap = results.modes["serial-graph"], results.modes["overlap-graph"]
    assert overlap["tokens_per_s"] < serial["tokens_per_s"]
    assert overlap["ttft_mean_us"] > 1.2 * serial["ttft_mean_us"]
    assert overlap["tpot_mean_us"] < serial["tpot_mean_us"]
    (reason,) = results.reasons
    assert "more behind what was launched before" in reason
    assert "rows of requests that had ended" in reason
    steps = {mode: len(timeline.deliveries) for mode, timeline in results.timelines.items()}
    assert f"{steps['overlap-graph'] - steps['serial-graph']} steps more, of {steps['serial-graph']}," in reason


def test_the_parts_of_a_first_token_add_up_to_its_time() -> None:
    timeline = run("limits-few-clients", "workload.requests=8").timeline("overlap-graph")
    found = FirstTokens.of(timeline)
    assert found is not None
    served = timeline.served
    assert found.ttft == pytest.approx(sum(s.first - s.arrival for s in served) / len(served))
    assert min(found.queue, found.ahead, found.compute, found.delivery) >= 0
