"""Predicted steps beside measured ones: ``python -m sim.studies.steps [FOLDER]`` prints the table of the README."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scenarios.loader import load_scenario
from sim.studies.report import time
from sim.studies.serving import ServingRun
from sim.studies.why import step_time

RESULTS = Path("gpu/results/nvidia-h200")


@dataclass(frozen=True, slots=True)
class StepRow:
    """One case of ``steps.json``: microseconds, and half the measured range as noise."""

    scenario: str
    batch: int
    mode: str
    predicted: float
    measured: float
    noise: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.measured - 1


def step_rows(folder: Path = RESULTS) -> Iterator[StepRow]:
    """Every case that was measured, predicted with the shipped profile and preset; nothing is fitted to these cases."""
    for case in json.loads((folder / "steps.json").read_text())["cases"]:
        run = ServingRun.of(load_scenario(case["scenario"], case["set"]))
        batch = run.scenario.workload.batch
        assert batch is not None
        steps = case["step_us"]
        predicted = float(step_time(run, case["mode"])) / 1000
        noise = (max(steps) - min(steps)) / 2
        yield StepRow(case["scenario"], batch, case["mode"], predicted, median(steps), noise)


def print_table(folder: Path) -> None:
    """Print the rows as a Markdown table."""
    lines = ["| scenario | batch | mode | predicted | measured | noise | error |", "|---|---|---|---|---|---|---|"]
    for row in step_rows(folder):
        cells = (row.scenario, row.batch, row.mode, time(row.predicted), time(row.measured), time(row.noise))
        lines.append(f"| {' | '.join(map(str, cells))} | {row.error:+.1%} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    print_table(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)
