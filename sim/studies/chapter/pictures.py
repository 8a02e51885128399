"""What the guide shows rather than says: a picture for some of the claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from sim.studies.bars import Bar, draw_bars, draw_breakdown
from sim.studies.breakdown import Breakdown
from sim.studies.chapter.exercises import BATCHES, SIZES, hierarchy, measured_hierarchy
from sim.studies.chapter.graphs import REASONS, gain_split
from sim.studies.chapter.graphs import SHORT as EAGER_AND_GRAPH
from sim.studies.chapter.lab import Lab, models_by_size
from sim.studies.files import draw_results
from sim.studies.results import Results, predict_modes
from sim.studies.sweep.axes import Axis

Draw = Callable[[Lab, Path], None]
REASON_COLOURS = {"launches": "#4878a8", "gaps": "#e0a030", "latency": "#a04858"}
TECHNIQUE_COLOURS = {"overhead": "#4878a8"}


def _timeline(scenario: str, *overrides: str) -> Draw:
    """The timelines of all modes."""

    def draw(lab: Lab, path: Path) -> None:
        draw_results(path, lab.results(scenario, *overrides))

    return draw


def _breakdown(scenario: str, axis: Axis, *overrides: str) -> Draw:
    """The host's parts against a key, with marks for what was measured."""

    def draw(lab: Lab, path: Path) -> None:
        def load(override: str) -> object:
            return lab.load(scenario, *([override] if override else []), *overrides)

        run: Callable[..., Results] = predict_modes
        draw_breakdown(path, Breakdown.of(load, axis, run))  # type: ignore[arg-type]

    return draw


def _reasons(lab: Lab, path: Path) -> None:
    bars = []
    for model in models_by_size():
        split = gain_split(lab.run("decode-llama-3.1-8b", f"model={model}", *EAGER_AND_GRAPH))
        bars.append(Bar(model, {reason: max(0.0, float(getattr(split, reason)) / 1000) for reason in REASONS}))
    draw_bars(path, bars, REASON_COLOURS, "What a graph saves of a step of 16 rows, by reason", unit="us a step")


def _hierarchy(lab: Lab, path: Path) -> None:
    bars = []
    for scenario, engine in (("decode-llama-3.1-8b", "lean"), ("decode-llama-3.1-8b", "pytorch")):
        marks = measured_hierarchy(lab, scenario) if engine == "lean" else {}
        for technique, us in hierarchy(lab, scenario, f"engine.preset={engine}").items():
            bars.append(Bar(f"{engine}: {technique}", {"overhead": us}, marks.get(technique)))
    title = f"Overhead of a decode step of Llama 3.1 8B by technique, {lab.card}"
    draw_bars(path, bars, TECHNIQUE_COLOURS, title, unit="us a step that are no device work", logarithmic=True)


PICTURES: dict[str, Draw] = {
    "five-steps": _timeline(
        "scheduling-overhead", "workload.output_tokens=24", "engine.modes=serial-graph,overlap-graph"
    ),
    "one-launch": _timeline(
        "scheduling-overhead", "workload.output_tokens=24", "engine.modes=serial-eager,serial-graph"
    ),
    "three-reasons": _reasons,
    "breakdown-by-batch": _breakdown(
        "scheduling-overhead", Axis("workload.batch", tuple(map(str, BATCHES))), "workload.output_tokens=24"
    ),
    "hundred-matmuls": _breakdown("hundred-matmuls", Axis("n", tuple(map(str, SIZES)))),
    "sleeping-batches": _timeline("sleep-overlap"),
    "hierarchy": _hierarchy,
}
"""By the claim's name."""


def draw_all(lab: Lab, folder: Path) -> None:
    """Draw every picture into a folder that exists, named after its claim."""
    for name, draw in PICTURES.items():
        lab.progress(f"drawing {name}")
        partial(draw, lab)(folder / f"{name}.png")
