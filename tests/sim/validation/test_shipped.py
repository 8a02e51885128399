"""The measurement that is shipped of a scenario is found by what runs, and shown beside the prediction."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from validation_worlds import case

from scenarios.loader import load_scenario
from scenarios.shelf import SUITES
from sim.studies.report import print_results
from sim.studies.results import run_all
from sim.studies.validation import shipped
from sim.studies.validation.cases import predicted_again
from sim.studies.validation.digest import run_digest
from sim.studies.validation.results_file import ResultsFile, read_results, write_results

TIMERS = ("workload.output_tokens=12",)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped results of suite h200 hold one mode of the timers."""
    path = tmp_path / "h200.json"
    digest = run_digest(load_scenario("sleep-overlap", TIMERS))
    measured = [16_100_000, 16_200_000, 16_300_000, 16_400_000, 16_500_000]
    one = case("serial-eager", 16_000_000, measured, digest=digest)
    write_results(path, ResultsFile(provenance={"gpu": "NVIDIA H200", "date": "2026-11-24"}, cases=(one,)))
    monkeypatch.setattr(shipped, "results_path", lambda _, suite: path if suite == "h200" else None)
    return path


def printed(*overrides: str) -> list[str]:
    loaded = load_scenario("sleep-overlap", (*TIMERS, *overrides))
    out = io.StringIO()
    print_results(Console(file=out, width=120), run_all(loaded), shipped.measured_scenario(loaded))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_measurement_stands_beside_the_prediction(results: Path) -> None:
    assert results.exists()
    lines = printed()
    assert lines[2].split()[:3] == ["mode", "step", "measured"]
    assert lines[3].split("  ")[2].strip() == "16.30 ms +- 160.0 us"
    assert lines[4].split()[3] == "-"
    assert lines[5] == "measured on NVIDIA H200, 2026-11-24 (overlapsim validate h200)"


def test_another_run_has_no_measurement(results: Path) -> None:
    assert results.exists()
    assert "measured" not in " ".join(printed("model.step=11ms"))


def test_results_are_looked_for_beside_the_gpu_package() -> None:
    assert shipped.results_path("nvidia-h200", "none") is None
    assert shipped.results_path("nvidia-h200", "h200") == Path("gpu/results/nvidia-h200/h200.json").resolve()


SHIPPED = [path for suite in SUITES.names() if (path := shipped.results_path("nvidia-h200", suite))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_results_are_what_is_predicted_today(path: Path) -> None:
    found = read_results(path)
    again = predicted_again(found)
    times = [(c.name, c.predicted_ns, c.predicted_in_process_ns) for c in found.cases]
    assert [(c.name, c.predicted_ns, c.predicted_in_process_ns) for c in again.cases] == times
