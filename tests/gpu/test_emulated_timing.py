"""The emulated device against the clock."""

from __future__ import annotations

import sys

import pytest

from gpu.measure import measure
from scenarios.loader import load_scenario
from sim.studies.results import run_all


@pytest.mark.timing
@pytest.mark.parametrize("step", ["10ms", "25ms"])
def test_overlap_of_sleeping_batches_is_predicted_within_five_percent(
    step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_scenario("sleep-overlap", [f"model.step={step}"])
    predicted = run_all(loaded).modes
    measured, _ = measure(loaded, "emulated", repeats=7)
    with capsys.disabled():
        lines = ["", *measured.notes]
        for mode, found in measured.modes.items():
            error = predicted[mode]["step_us"] / found["step_us"] - 1
            lines.append(f"{step} {mode}: {found['step_us']:,.0f} us measured, predicted {error:+.2%}")
        sys.stdout.write("\n".join(lines) + "\n")
    for mode, found in measured.modes.items():
        assert predicted[mode]["step_us"] == pytest.approx(found["step_us"], rel=0.05)
