"""Published results of whole servers, with everything that is assumed about them in the head of each scenario."""

from __future__ import annotations

import pytest

from scenarios.loader import load_scenario
from sim.studies.serving import ServingRun
from sim.studies.why import step_time, waterfall
from sim.timeline.spans import Timeline


def run(name: str, *changes: str) -> ServingRun:
    return ServingRun.of(load_scenario(name, changes))


def mean_tpot_ms(timeline: Timeline) -> float:
    times = [(r.last - r.first) / (r.tokens - 1) for r in timeline.served if r.tokens > 1]
    return sum(times) / len(times) / 1e6


def test_vllm_s_asynchronous_output_processing() -> None:
    late = "engine.overlap.late_outputs=true"
    at_the_end, during = (
        mean_tpot_ms(run("published-async-output", *changes).timeline("overlap-graph", spans=False))
        for changes in ([], [late])
    )
    assert at_the_end / during == pytest.approx(44.48 / 32.38, rel=0.2)
    assert at_the_end == pytest.approx(44.48, rel=0.1)  # the host's cost is of another of its pull requests
    assert during == pytest.approx(32.38, rel=0.2)


def test_the_cost_of_an_output_is_that_of_another_published_run() -> None:
    """Pull request 7921: 200 requests, 10 a second, of 955 and 512 tokens: 28.10 ms a token."""
    same = [
        "workload.rate=10/s", "workload.requests=200", "workload.context=955", "workload.output_tokens=512",
    ]  # fmt: skip
    timeline = run("published-async-output", *same).timeline("overlap-graph", spans=False)
    assert mean_tpot_ms(timeline) == pytest.approx(28.10, rel=0.02)


def test_the_eager_cliff_above_the_largest_bucket() -> None:
    eager = step_time(run("published-eager-cliff"), "serial-graph")
    captured = step_time(run("published-eager-cliff", "engine.buckets=[512,1024]"), "serial-graph")
    assert float(captured) == pytest.approx(1024 / 21_000 * 1e9, rel=0.02)  # scaled to be
    assert float(eager / captured) == pytest.approx(21_000 / 13_900, rel=0.2)


def test_two_host_threads_under_one_lock_lose_with_a_small_model() -> None:
    found = waterfall(run("published-two-threads", "workload.output_tokens=16"), "serial-graph", "overlap-graph")
    gains = {factor.cause: factor.gain for factor in found.factors}
    assert found.gain < 1
    assert gains["the lock between the threads"] < found.gain  # what is lost, and more
    assert gains["hidden host work"] > 1


@pytest.mark.parametrize(
    ("changes", "loses"),
    [
        (["workload.batch=330"], True),
        (["workload.batch=400"], False),  # the device is what a step waits for
        (["engine.framework.default=16us"], False),  # launches as quick as the device
        (["engine.host.schedule.base=3ms"], True),
        (["kernels.scale=3"], True),
    ],
    ids=lambda found: found[0] if isinstance(found, list) else "",
)
def test_two_threads_lose_while_steps_wait_for_their_launches(changes: list[str], loses: bool) -> None:
    loaded = run("published-two-threads", "workload.output_tokens=10", *changes)
    ratio = float(step_time(loaded, "serial-graph") / step_time(loaded, "overlap-graph"))
    assert (0.9 < ratio < 0.99) if loses else (1.01 < ratio < 1.15)
