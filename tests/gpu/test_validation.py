"""Measuring a suite on made-up hardware: what is run in which order, kept, predicted, and named as the cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeHardware

from gpu.validation.partings import pairs_of, with_partings
from gpu.validation.runner import measure, measure_suite, median_numbers
from scenarios.errors import Problem, ScenarioError
from scenarios.suite import Suite, load_suite
from sim.studies.noise import noise
from sim.studies.validation.predictors import SHIPPED
from sim.studies.validation.report import sentences
from sim.studies.validation.results_file import ResultsFile, read_results
from sim.studies.validation.scores import error_of
from sim.studies.validation.summary import Summary

TWO = """
kind = "suite"
title = "Two"
[[entries]]
scenario = "sleep-overlap"
set = ["workload.output_tokens=12"]
vary = { "model.step" = ["10ms", "3ms"] }
"""
FIRST = "Timers of 10 ms behind 6 ms of host work"


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "two.toml").write_text(TWO)
    return load_suite(str(tmp_path / "two.toml"))


def run(suite: Suite, hardware: FakeHardware, **options: Any) -> Any:
    return measure_suite(suite, hardware.backend(), {"gpu": "fake"}, repeats=5, **options)


def test_modes_are_warmed_up_once_and_then_run_in_turn(suite: Suite) -> None:
    hardware = FakeHardware()
    measured = measure(suite.configurations[0], hardware.backend(), repeats=5)
    modes = ["serial-eager", "overlap-eager"]
    assert [mode for _, mode in hardware.runs] == modes + (modes[::-1] + modes) * 2 + modes[::-1]
    assert [len(values) for values in measured.values.values()] == [5, 5]
    assert hardware.host_measurements == 5
    assert hardware.sessions == 0


def test_a_case_holds_every_repeat_and_its_noise(suite: Suite) -> None:
    # the warm-up takes 1.5, and two modes a turn: serial measures 1.0 to 1.4
    slower = [1.5, 1.5, 1.0, 1.0, 1.1, 1.1, 1.2, 1.2, 1.3, 1.3, 1.4, 1.4]
    cases = run(suite, FakeHardware(slower)).results.cases
    serial, overlap = cases[:2]
    base = serial.predicted_ns
    assert list(serial.measured_ns) == [base + ms * 1_000_000 for ms in range(5)]
    assert serial.noise_ns == noise(serial.measured_ns) == 1_600_000
    assert list(overlap.measured_ns) == [overlap.predicted_ns + ms * 1_000_000 for ms in range(5)]
    assert error_of(serial, SHIPPED) == base / (base + 2_000_000) - 1
    assert serial.name == "sleep-overlap step=10ms output_tokens=12 serial-eager"
    assert (serial.scenario, serial.mode, serial.quantity) == ("sleep-overlap", "serial-eager", "step")


def test_host_numbers_are_medians_over_the_repeats_and_drift_over_the_configurations(suite: Suite) -> None:
    assert median_numbers([{"a": 1, "b": 4}, {"a": 9}, {"a": 2}]) == {"a": 2, "b": 4}
    slopes = {"b_per_row": 90}
    found = run(suite, FakeHardware(host_numbers=[{"a": 100, "b": 5} | slopes])).results
    assert found.provenance == {"gpu": "fake", "host_drift": {"a": (100, 100), "b": (5, 5)}}


def test_what_prompts_cost_the_host_is_measured_where_prompts_are_computed(suite: Suite) -> None:
    batches, clients = FakeHardware(), FakeHardware()
    run(suite, batches)
    run(load_suite("open-qwen3-0.6b", ["workload.requests=2", "model=tiny", "engine.modes=serial-graph"]), clients)
    assert set(batches.asked_of_prompts) == {False}
    assert clients.asked_of_prompts == [True, False, True, False, True]  # every second time: it takes longer


def test_an_interrupted_run_keeps_what_was_finished_and_goes_on_where_it_stopped(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    whole = run(suite, FakeHardware()).results
    broken = FakeHardware(breaks_at=15)  # 12 runs are one configuration
    with pytest.raises(KeyboardInterrupt):
        run(suite, broken, path=path)
    assert broken.sessions == 0
    kept = read_results(path)
    assert kept.cases == whole.cases[:2]
    resumed = FakeHardware()
    outcome = run(suite, resumed, path=path, done=kept)
    assert len(resumed.runs) == 12
    assert outcome.results == whole == read_results(path)
    assert {key[1][0] for key in outcome.timelines} == {"model.step=3ms"}
    again = FakeHardware()
    assert run(suite, again, done=whole).results.cases == whole.cases
    assert again.runs == []


def test_what_was_measured_of_another_run_is_measured_again(suite: Suite) -> None:
    whole = run(suite, FakeHardware()).results
    stale = tuple(case.model_copy(update={"digest": "older"}) for case in whole.cases)
    hardware = FakeHardware()
    assert run(suite, hardware, done=whole.model_copy(update={"cases": stale})).results.cases == whole.cases
    assert len(hardware.runs) == 24


def test_the_worst_cases_say_where_the_timelines_part(suite: Suite) -> None:
    hardware = FakeHardware((1.2,))
    outcome = run(suite, hardware)
    worst = Summary.of(suite.title, outcome.results).worst
    pairs = pairs_of(suite, outcome, worst, hardware.backend())
    assert list(pairs) == [case.name for case in worst]
    results = with_partings(outcome.results, pairs)
    told = {case.name: case.parting for case in results.cases}
    assert told[worst[0].name].endswith(": model.step")
    assert "timer (kernels) takes" in told[worst[0].name]
    assert sum(bool(text) for text in told.values()) == len(worst)


def test_a_profiled_run_goes_before_the_timed_one(suite: Suite) -> None:
    outcome = run(suite, FakeHardware((1.2,)))
    backend = FakeHardware().backend()
    asked = []

    def spans(configuration: Any, cases: Any, seed: int, limit_s: float) -> Any:
        asked.append(([case.name for case in cases], limit_s))
        session = FakeHardware((2.0,)).open(configuration.loaded, "emulated", seed)
        return {case.mode: session.run(case.mode) for case in cases}

    backend = replace(backend, spans=spans)
    cases = [outcome.results.cases[number] for number in (1, 2, 0)]
    pairs = pairs_of(suite, outcome, cases, backend, clock=iter((0.0, 1.0, 50.0)).__next__)
    results = with_partings(outcome.results, pairs)
    assert asked == [([cases[0].name, cases[2].name], 119.0), ([cases[1].name], 70.0)]  # a process a configuration
    assert results.cases[0].parting == "timer (kernels) takes 10,000.0 us too long: model.step"


def test_a_case_that_cannot_be_profiled_costs_no_result(suite: Suite) -> None:
    outcome = run(suite, FakeHardware((1.2,)))

    def spans(configuration: Any, cases: Any, seed: int, limit_s: float) -> Any:
        del cases, seed
        assert limit_s == 0.0  # all of the time is spent
        raise ScenarioError([Problem(configuration.scenario, "", "was ended after 0 s")])

    told: list[str] = []
    backend = replace(FakeHardware().backend(), spans=spans)
    clock = iter((0.0, 500.0)).__next__
    assert pairs_of(suite, outcome, outcome.results.cases[:2], backend, tell=told.append, clock=clock) == {}
    assert told[-1].endswith("where it parts is not known: sleep-overlap: was ended after 0 s")


def test_a_program_is_measured_by_its_total() -> None:
    suite = load_suite("launch-chain", ["count=2"])
    eager, graph = run(suite, FakeHardware((1.0,))).results.cases
    assert (eager.mode, graph.mode, eager.quantity) == ("eager", "graph", "total")
    assert set(eager.measured_ns) == {eager.predicted_ns}
    assert eager.predicted_in_process_ns is None


def test_an_open_loop_is_measured_by_what_its_clients_see() -> None:
    sets = ["workload.rate=50/s", "workload.requests=4", "workload.output_tokens=3", "engine.modes=serial-graph"]
    suite = load_suite("decode-qwen3-0.6b", sets)
    (case,) = run(suite, FakeHardware((1.0,))).results.cases
    for metric in case.clients.values():
        assert metric.measured == (metric.predicted,) * 5
    text = "".join(sentences(Summary.of(suite.title, ResultsFile(provenance={}, cases=(case,)))))
    assert "clients, shipped profile: 8 of 8 metrics within their limits" in text
