"""Several draws of one run: means, and intervals that are the bootstrap's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_worlds import tiny, tiny_clients, tiny_open

from scenarios.loader import LoadedScenario
from sim.studies.replications import combined, interval, ratio_interval
from sim.studies.results import REPLICATIONS, SHORT, is_short, is_stochastic, run_all


@pytest.mark.parametrize(("count", "sigma"), [(5, 1.0), (40, 3.0)])
def test_a_resampled_mean_scatters_by_the_population_deviation_over_root_n(count: int, sigma: float) -> None:
    values = np.random.default_rng(1).normal(100, sigma, count)
    low, high = interval(values.tolist())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(count), rel=0.12)
    assert low < values.mean() < high


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    ends = [interval(draw.exponential(1, 40).tolist()) for _ in range(300)]
    assert sum(low <= 1 <= high for low, high in ends) / 300 == pytest.approx(0.93, abs=0.04)


@given(st.lists(st.floats(1, 100), min_size=2, max_size=8), st.floats(0.5, 4))
def test_a_ratio_of_pairs_that_never_varies_has_no_interval(values: list[float], factor: float) -> None:
    assert ratio_interval([factor * value for value in values], values) == pytest.approx((factor, factor))


def test_draws_become_means_and_intervals_of_what_all_of_them_have() -> None:
    draws = [
        {"ttft_p50_us": ttft, "tpot_p50_us": tpot, "saturated": late > 0, "idle": {"gap": gap}, "late_rows": late}
        for ttft, tpot, late, gap in ((10.0, 1.0, 1, 4.0), (20.0, None, 0, 6.0), (30.0, 2.0, 2, 2.0))
    ]
    found = combined(draws)
    assert found.pop("intervals") == {"ttft_p50_us": [10.0, 30.0]}
    assert found == {
        "ttft_p50_us": 20.0, "tpot_p50_us": None, "saturated": True, "idle": {"gap": 4.0}, "late_rows": 1.0,
    }  # fmt: skip
    assert combined(draws[:1]) == draws[0]
    assert combined(draws[:2])["saturated"] is False  # one of two is not most of them


@pytest.mark.parametrize(
    ("loaded", "stochastic"),
    [
        (tiny_open(), True),
        (tiny_open("workload.arrivals=constant"), False),
        (tiny_open("workload.arrivals=constant", "host.jitter=true"), True),
        (tiny_open("workload.arrivals=constant", "workload.stop_share=0.5"), True),
        (tiny_clients(2, 5), False),
        (tiny_clients(2, 5, 'workload.context={kind="uniform", low=1, high=9}'), True),
        (tiny("host.jitter=true"), False),
    ],
)
def test_only_a_run_that_another_seed_changes_is_replicated(loaded: LoadedScenario, *, stochastic: bool) -> None:
    assert is_stochastic(loaded.scenario) is stochastic
    assert run_all(loaded).replications == (REPLICATIONS if stochastic else 1)


def test_the_numbers_of_replications_are_means_over_seeds_on_the_same_arrivals_in_all_modes() -> None:
    loaded = tiny_open("engine.modes=serial-eager,overlap-graph", "workload.rate=1000/s")
    together = run_all(loaded, 3, replications=3)
    apart = [run_all(loaded, seed, replications=1) for seed in (3, 4, 5)]
    for mode, found in together.modes.items():
        for name in ("ttft_p99_us", "step_us", "requests_per_s", "batch_mean"):
            assert found[name] == pytest.approx(np.mean([one.modes[mode][name] for one in apart]))
        low, high = found["intervals"]["ttft_p99_us"]
        assert low < found["ttft_p99_us"] < high
    assert together.speedup_of == "mean TPOT (below saturation)"
    tpots = [np.mean([one.modes[mode]["tpot_mean_us"] for one in apart]) for mode in together.modes]
    assert together.modes["overlap-graph"]["speedup"] == pytest.approx(tpots[0] / tpots[1], abs=1e-5)
    assert together.timelines["serial-eager"] == apart[0].timelines["serial-eager"]


def test_a_run_of_many_requests_keeps_no_spans_and_is_not_repeated() -> None:
    loaded = tiny_open(f"workload.requests={SHORT + 1}", "engine.modes=serial-graph", "workload.output_tokens=2")
    assert not is_short(loaded.scenario)
    results = run_all(loaded)
    assert not len(results.timelines["serial-graph"].table)
    found = results.modes["serial-graph"]
    assert (found["device_busy"], found["host"], found["launches"], results.replications) == (None, None, None, 1)
    assert found["ttft_p99_us"] > 0
