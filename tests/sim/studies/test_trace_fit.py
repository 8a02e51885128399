"""Workloads fitted to traces: what is drawn from them has the trace's statistics, and the shipped ones are fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scenarios.loader import load_scenario
from sim.studies.trace_fit import SEEDS, Requests, fit_error, fitted, scenario_file
from sim.studies.workload import build_source

SECOND = 10**9
HERE = Path(__file__)
WORKLOADS = next((p / "shared/workloads" for p in HERE.parents if (p / "shared/workloads").is_dir()), None)
SOURCE = "AzureLLMInferenceTrace_{}.csv (Azure/AzurePublicDataset, CC-BY 4.0)"
SHIPPED = {
    "azure-conversation": ("conv", 60, "A chat service's hour"),
    "azure-code": ("code", 10, "A code completion service's hour"),
}


def bursty(shape: float) -> Requests:
    """Sixteen minutes of a Gamma process, three times as fast in every second one."""
    draw = np.random.default_rng(1)
    turns, rest = np.divmod(np.cumsum(draw.standard_gamma(shape, 5_000) / shape), 480)
    arrivals = turns * 120 + np.interp(rest, [0, 120, 480], [0, 60, 120])
    arrivals = np.array([0, *arrivals[arrivals < 960], 960])
    context = draw.integers(1, 1_001, len(arrivals))
    return Requests(arrivals, context, 1 + context // 10 + draw.integers(0, 5, len(arrivals)))


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
def test_a_fit_finds_the_burstiness_and_the_rate_over_time(shape: float) -> None:
    workload = fitted(bursty(shape), 60 * SECOND)
    assert workload.burstiness == pytest.approx(shape, rel=0.2)
    assert workload.profile is not None
    counts = workload.profile.counts
    assert sum(counts[1::2]) / sum(counts[::2]) == pytest.approx(3, rel=0.15)


def test_draws_of_a_fit_have_the_statistics_of_the_trace() -> None:
    trace = bursty(1.0)
    found = {name: (traced, drawn) for name, traced, drawn in fit_error(trace, fitted(trace, 60 * SECOND), range(3))}
    assert found["requests"] == (len(trace.arrivals), len(trace.arrivals))
    for name in ("seconds", "prompt mean", "prompt p90", "output mean", "output p50", "output p99"):
        traced, drawn = found[name]
        assert drawn == pytest.approx(traced, rel=0.03), name
    assert found["rank correlation of prompt and output"][1] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_scenario_is_the_fit_of_its_trace(name: str) -> None:
    trace, every, title = SHIPPED[name]
    if WORKLOADS is None:
        pytest.skip("needs the published traces in shared/workloads")
    path = WORKLOADS / f"AzureLLMInferenceTrace_{trace}.csv"
    made = scenario_file(Requests.of_trace(path), every * SECOND, title, "llama-3.1-8b", SOURCE.format(trace))
    shipped = HERE.parents[3] / f"scenarios/library/{name}.toml"
    assert made == shipped.read_text()
    real = load_scenario(name, [f"workload.trace={path}"]).scenario.workload  # type: ignore[union-attr]
    assert len(build_source(real).take(1 << 62)) == len(Requests.of_trace(path).arrivals)


@pytest.mark.parametrize(
    ("name", "requests", "rate"), [("azure-conversation", 19_366, 5.53), ("azure-code", 8_819, 2.567)]
)
def test_a_shipped_scenario_has_the_requests_and_the_rate_of_its_trace(name: str, requests: int, rate: float) -> None:
    workload = load_scenario(name).scenario.workload  # type: ignore[union-attr]
    drawn = [Requests.of_workload(workload, seed).arrivals for seed in SEEDS]
    assert {len(arrivals) for arrivals in drawn} == {requests}
    assert np.mean([requests / arrivals[-1] for arrivals in drawn]) == pytest.approx(rate, rel=0.02)


def test_a_trace_that_cannot_be_read_is_no_fit(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("TIMESTAMP,ContextTokens\n")
    command = [sys.executable, "-m", "sim.studies.trace_fit", str(tmp_path / "a.csv"), "--title", "x", "--source", "y"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own module
    assert (done.returncode, done.stdout) == (2, "")
    assert "no column 'GeneratedTokens'" in done.stderr
