"""What clients of an open loop saw, predicted beside measured: which metrics, and how far off they may be."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios.loader import load_scenario
from scenarios.suite import Configuration
from sim.studies.validation.cases import case_of, predicted_again
from sim.studies.validation.clients import client_errors, client_metrics, compared, repeats_of
from sim.studies.validation.predict import predict
from sim.studies.validation.results_file import Case, ResultsFile
from sim.timeline.spans import Served, Timeline

OPEN = ("workload.rate=200/s", "workload.requests=6", "workload.output_tokens=5", "engine.modes=serial-graph")
NAMES = ["tokens_per_s", "tpot_mean_ns", "ttft_p50_ns", "ttft_p90_ns", "tpot_p50_ns", "tpot_p90_ns"]
NAMES += ["itl_p50_ns", "itl_p90_ns"]


def configuration() -> Configuration:
    loaded = load_scenario("decode-qwen3-0.6b", OPEN)
    return Configuration("decode-qwen3-0.6b", OPEN, loaded.modes, loaded)


def served(*rows: tuple[int, int, int, int], timeline: Timeline) -> Timeline:
    """A timeline whose requests arrived, got their first and last token, and so many tokens."""
    requests = tuple(
        Served(number, arrival, first, last, tokens, "length")
        for number, (arrival, first, last, tokens) in enumerate(rows)
    )
    return Timeline(timeline.tracks, timeline.spans, timeline.deliveries, requests, timeline.origin)


def test_latencies_are_those_of_single_requests() -> None:
    loaded = configuration().loaded
    timeline = predict(loaded, "serial-graph").timeline
    found = client_metrics(loaded, served((0, 10, 40, 4), (5, 25, 45, 3), (7, 37, 37, 1), timeline=timeline))
    assert list(found) == NAMES
    assert (found["ttft_p50_ns"], found["ttft_p90_ns"]) == (20, 28)
    assert (found["tpot_mean_ns"], found["tpot_p50_ns"]) == (10, 10)  # of two requests: one has a single token
    assert found["tokens_per_s"] > 0


def test_intervals_are_those_between_deliveries_and_their_tail_is_told_of_thousands() -> None:
    loaded = configuration().loaded
    timeline = predict(loaded, "serial-graph").timeline
    found = client_metrics(loaded, timeline)
    between = np.diff(np.unique([d.time for d in timeline.deliveries]))
    assert between.min() <= found["itl_p50_ns"] <= found["itl_p90_ns"] <= between.sum()
    sets = (*OPEN[:2], "workload.output_tokens=400", OPEN[3])
    long = predict(load_scenario("decode-qwen3-0.6b", sets), "serial-graph")
    assert "itl_p99_ns" in long.clients
    assert "tpot_p99_ns" not in long.clients


def test_a_tail_is_told_of_thousands_only() -> None:
    loaded = configuration().loaded
    timeline = predict(loaded, "serial-graph").timeline
    many = served(*[(0, n, n + 10, 2) for n in range(2000)], timeline=timeline)
    assert [name for name in client_metrics(loaded, many) if "p99" in name] == [
        "ttft_p99_ns", "tpot_p99_ns", "itl_p99_ns",
    ]  # fmt: skip
    few = served(*[(0, n, n + 10, 2) for n in range(1999)], timeline=timeline)
    assert not [name for name in client_metrics(loaded, few) if "p99" in name]


def test_closed_batches_and_programs_have_no_clients() -> None:
    for name, mode in (("decode-qwen3-0.6b", "serial-graph"), ("launch-chain", "graph")):
        loaded = load_scenario(name)
        assert client_metrics(loaded, predict(loaded, mode).timeline) == {}


def case(**metrics: tuple[float, list[float]]) -> Case:
    repeats = [dict(zip(metrics, row, strict=True)) for row in zip(*(of for _, of in metrics.values()), strict=True)]
    found = case_of(configuration(), "serial-graph", [1_000_000] * 5, {})
    clients = compared({name: predicted for name, (predicted, _) in metrics.items()}, {}, repeats)
    return found.model_copy(update={"clients": clients})


def test_means_may_be_off_five_percent_and_percentiles_ten_or_twice_their_spread() -> None:
    steady, wild = [100.0] * 5, [60.0, 80.0, 100.0, 120.0, 140.0]  # noise 32
    one = case(
        tokens_per_s=(104.0, wild), tpot_mean_ns=(94.0, steady), ttft_p50_ns=(109.0, steady), ttft_p90_ns=(163.0, wild),
        tpot_p50_ns=(111.0, steady), tpot_p90_ns=(170.0, wild),
    )  # fmt: skip
    errors = {e.name: e for e in client_errors([one], in_process=False)}
    within = {"tokens_per_s": True, "tpot_mean_ns": False, "ttft_p50_ns": True, "ttft_p90_ns": True}
    assert {name: error.within for name, error in errors.items()} == within | {
        "tpot_p50_ns": False, "tpot_p90_ns": False,
    }  # fmt: skip
    assert errors["ttft_p50_ns"].error == pytest.approx(0.09)
    assert errors["ttft_p90_ns"].limit == pytest.approx(0.64)
    assert list(client_errors([one], in_process=True)) == []


def test_a_case_holds_what_clients_saw_in_every_repeat_and_is_predicted_again() -> None:
    one = configuration()
    own = predict(one.loaded, "serial-graph").clients
    slower = {name: value * 1.25 for name, value in own.items()}
    found = case_of(one, "serial-graph", [1_000_000] * 5, {}, clients=[own, slower, own, own, own])
    assert repeats_of(found) == [own, slower, own, own, own]
    assert {e.error for e in client_errors([found], in_process=False)} == {0.0}
    stale = {name: metric.model_copy(update={"predicted": 1.0}) for name, metric in found.clients.items()}
    results = ResultsFile(provenance={}, cases=(found.model_copy(update={"clients": stale}),))
    assert predicted_again(results).cases == (found,)
