"""Steps of real models on an H200 against predictions that no step was fitted to."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from sim.studies.steps import RESULTS, StepRow, step_rows

FOLDER = Path(__file__).parents[3] / RESULTS


@pytest.fixture(scope="module")
def rows() -> list[StepRow]:
    return list(step_rows(FOLDER))


def beyond(rows: list[StepRow], suffix: str, bound: float) -> dict[str, str]:
    wrong = [r for r in rows if r.mode.endswith(suffix) and abs(r.error) > bound]
    return {f"{r.scenario} {r.batch} {r.mode}": f"{r.error:+.1%}" for r in wrong}


def test_steps_with_graphs_come_out_within_10_percent(rows: list[StepRow]) -> None:
    assert beyond(rows, "graph", 0.10) == {}


def test_eager_steps_come_out_within_30_percent(rows: list[StepRow]) -> None:
    assert beyond(rows, "eager", 0.30) == {}


def test_what_helps_and_what_does_not_comes_out_right(rows: list[StepRow]) -> None:
    """Graphs in every case; overlap in every case with graphs, as far as the gain exceeds its noise."""
    for _, group in groupby(rows, key=lambda r: (r.scenario, r.batch)):
        by_mode = {r.mode: r for r in group}
        for slow, fast in (("serial-eager", "serial-graph"), ("serial-graph", "overlap-graph")):
            measured = by_mode[slow].measured - by_mode[fast].measured
            if measured > by_mode[slow].noise + by_mode[fast].noise:
                assert by_mode[slow].predicted > by_mode[fast].predicted
