"""What the guide shows rather than says: a picture for some of the claims."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scenarios.loader import LoadedScenario
from sim.studies.bars import Bar, draw_bars, draw_breakdown
from sim.studies.breakdown import Breakdown
from sim.studies.chapter.exercises import SIZES, hierarchy, measured_hierarchy
from sim.studies.chapter.graphs import REASONS, gain_split
from sim.studies.chapter.graphs import SHORT as EAGER_AND_GRAPH
from sim.studies.chapter.lab import Lab, models_by_size
from sim.studies.chapter.measured_runs import BATCHES
from sim.studies.chapter.outcomes import labs_of
from sim.studies.files import draw_results
from sim.studies.results import predict_modes
from sim.studies.sweep.axes import Axis

Draw = Callable[[Lab, Path], None]
REASON_COLOURS = {"launches": "#4878a8", "gaps": "#e0a030", "latency": "#a04858"}
HIERARCHY_OF = "decode-llama-3.1-8b"
TECHNIQUE_COLOURS = {"overhead": "#4878a8"}


def _timeline(scenario: str, *overrides: str) -> Draw:
    """The timelines of all modes."""

    def draw(lab: Lab, path: Path) -> None:
        draw_results(path, lab.results(scenario, *overrides))

    return draw


def _breakdown(scenario: str, axis: Axis, *overrides: str) -> Draw:
    """The host's parts against a key, with marks for what was measured."""

    def draw(lab: Lab, path: Path) -> None:
        def load(override: str) -> LoadedScenario:
            return lab.load(scenario, *([override] if override else []), *overrides)

        draw_breakdown(path, Breakdown.of(load, axis, predict_modes))

    return draw


def _reasons(lab: Lab, path: Path) -> None:
    bars = []
    for model in models_by_size():
        split = gain_split(lab.run("decode-llama-3.1-8b", f"model={model}", *EAGER_AND_GRAPH))
        bars.append(Bar(model, {reason: max(0.0, float(getattr(split, reason)) / 1000) for reason in REASONS}))
    draw_bars(path, bars, REASON_COLOURS, "What a graph saves of a step of 16 rows, by reason", unit="us a step")


def _hierarchy(lab: Lab, path: Path) -> None:
    """Every card that measured it, with marks, and an engine that launches kernel by kernel."""
    bars = []
    for card in labs_of(lab.profile):
        marks = measured_hierarchy(card, HIERARCHY_OF)
        for technique, us in hierarchy(card, HIERARCHY_OF).items():
            bars.append(Bar(f"{card.profile}, lean: {technique}", {"overhead": us}, marks.get(technique)))
    for technique, us in hierarchy(lab, HIERARCHY_OF, "engine.preset=pytorch").items():
        bars.append(Bar(f"{lab.profile}, pytorch: {technique}", {"overhead": us}))
    title = "Overhead of a decode step of Llama 3.1 8B by technique"
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
        draw(lab, folder / f"{name}.png")
