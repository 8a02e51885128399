"""The results file: what is written is read back, and what is no results file is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from validation_worlds import case

from scenarios.errors import ScenarioError
from sim.studies.validation.results_file import ResultsFile, read_results, write_results
from sim.studies.validation.summary import Summary

RESULTS = ResultsFile(
    provenance={"gpu": "NVIDIA H200", "host_drift": {"launch": 1.25}},
    cases=(
        case("serial-eager", 2000, [2100, 2000, 1900, 2000, 2000], predicted_in_process_ns=2100, in_process={"a": 4}),
        case("serial-graph", 1000, [1250] * 5, set=("workload.batch=4",), parting="lm_head starts late"),
    ),
)
SCHEMA = (
    "name", "scenario", "set", "mode", "quantity", "predicted_ns", "predicted_in_process_ns", "measured_ns",
    "noise_ns", "in_process",
)  # fmt: skip


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, RESULTS)
    assert read_results(path) == RESULTS
    assert Summary.of("", read_results(path)).as_json() == Summary.of("", RESULTS).as_json()
    tree = json.loads(path.read_text())
    assert list(tree) == ["provenance", "cases"]
    assert tuple(tree["cases"][0])[: len(SCHEMA)] == SCHEMA
    assert tree["cases"][0]["measured_ns"] == [2100, 2000, 1900, 2000, 2000]
    assert list(tmp_path.iterdir()) == [path]


BAD = {
    "{": "line 1: no valid JSON",
    "[]": "expected an object with 'provenance' and 'cases'",
    '{"provenance": {}}': "cases: missing, expected a list",
    '{"provenance": {}, "cases": [{"name": "a"}]}': "cases[0].scenario: missing, expected a string",
    '{"provenance": {}, "cases": [], "more": 1}': "more: unknown key",
}


@pytest.mark.parametrize("text", BAD)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        read_results(path)
    assert f"{path}: {BAD[text]}" in str(caught.value)


def test_a_case_needs_a_measurement(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, RESULTS)
    path.write_text(path.read_text().replace("[1250, 1250, 1250, 1250, 1250]", "[]"))
    with pytest.raises(ScenarioError, match=r"cases\[1\].measured_ns: found \[\], expected a list with at least one"):
        read_results(path)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no such file"):
        read_results(tmp_path / "none.json")
