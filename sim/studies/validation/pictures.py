"""Pictures of a validation: predicted against measured times, and two timelines on one axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.studies.table import time
from sim.studies.validation.parting import common_steps
from sim.studies.validation.predictors import Predictor
from sim.studies.validation.results_file import Case
from sim.studies.validation.scores import score
from sim.timeline.chrome import replacing
from sim.timeline.picture import DPI, draw_modes
from sim.timeline.spans import Timeline

# Okabe and Ito's colours and a shape each: serial full, overlap open, eager round, graph square.
MARKERS = {
    "naive": ("x", "#999999", True),
    "serial-eager": ("o", "#D55E00", True),
    "serial-graph": ("s", "#0072B2", True),
    "overlap-eager": ("o", "#D55E00", False),
    "overlap-graph": ("s", "#0072B2", False),
    "eager": ("^", "#009E73", True),
    "graph": ("v", "#CC79A7", True),
}
BANDS = ((0.10, "#eeeeee"), (0.05, "#d4d4d4"))
WIDTH, HEIGHT, LEFT, SIDE, BELOW, FOOT, GAP = 6.4, 8.3, 0.75, 5.5, 1.4, 0.5, 0.2  # inches
MILLION = 1e6
LONGEST = 95  # characters of a panel's name, beside its step time


def draw_scatter(path: Path, cases: tuple[Case, ...], predictor: Predictor, title: str) -> None:
    """Every case that the predictor predicts: its time on two axes, and below its error, with bands of 5 and 10 %.

    A bar through a marker is the case's noise, where it is wider than the marker. Raises ``ValueError`` of no case.
    """
    points = [Point(case, ns) for case in cases if (ns := predictor.ns(case)) is not None]
    if not points:
        raise ValueError("nothing to draw: no case is predicted")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
    FigureCanvasAgg(figure)
    above, below = (
        figure.add_axes((LEFT / WIDTH, bottom / HEIGHT, SIDE / WIDTH, height / HEIGHT))
        for bottom, height in ((FOOT + BELOW + GAP, SIDE), (FOOT, BELOW))
    )
    times = [time for point in points for time in (point.measured, point.predicted)]
    ends = min(times) / 1.35, max(times) * 1.35
    _bands(above, below, ends)
    for mode, style in MARKERS.items():
        if mine := [point for point in points if point.case.mode == mode]:
            _points(above, mine, [point.predicted for point in mine], mode, style)
            _points(below, mine, [point.error for point in mine], mode, style)
    _frame(above, below, ends, max(abs(point.error) for point in points))
    spread = score([point.case for point in points], predictor).plain["all"]
    above.set_title(title, loc="left", fontsize=10.5, weight="bold", pad=18)
    note = f"{predictor.name}: {spread.cases} cases, mean error {spread.mean:.1%}, 95 % below {spread.p95:.1%}"
    above.text(0, 1.015, note, transform=above.transAxes, fontsize=8.5)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


@dataclass(frozen=True, slots=True)
class Point:
    """A case and its predicted nanoseconds; drawn in milliseconds and percent."""

    case: Case
    predicted_ns: int

    @property
    def predicted(self) -> float:
        """Milliseconds."""
        return self.predicted_ns / MILLION

    @property
    def measured(self) -> float:
        """Milliseconds."""
        return self.case.measured / MILLION

    @property
    def error(self) -> float:
        """Percent."""
        return 100 * (self.predicted / self.measured - 1)


def _bands(above: Any, below: Any, ends: tuple[float, float]) -> None:
    for share, color in BANDS:
        under, over = ([time * factor for time in ends] for factor in (1 - share, 1 + share))
        above.fill_between(ends, under, over, color=color, linewidth=0, label=f"within {share:.0%}", zorder=0)
        below.axhspan(-100 * share, 100 * share, color=color, linewidth=0, zorder=0)
    above.plot(ends, ends, color="#777777", linewidth=0.8, zorder=1)
    below.axhline(0, color="#777777", linewidth=0.8, zorder=1)


def _points(axes: Any, points: list[Point], heights: list[float], label: str, style: tuple[str, str, bool]) -> None:
    marker, color, full = style
    axes.errorbar(
        [point.measured for point in points],
        heights,
        xerr=[point.case.noise_ns / MILLION for point in points],
        fmt=marker,
        color=color,
        markerfacecolor=color if full else "white",
        markersize=5,
        elinewidth=0.8,
        label=label,
        zorder=3,
    )


def _frame(above: Any, below: Any, ends: tuple[float, float], largest: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ratio = ends[1] / ends[0]
    subs = (1.0,) if ratio > 30 else (1.0, 2.0, 5.0) if ratio > 8 else tuple(range(1, 10))
    above.set_yscale("log")
    above.set_ylim(ends)
    above.set_ylabel("predicted (ms)", fontsize=9)
    below.set_ylim(-max(15.0, 1.15 * largest), max(15.0, 1.15 * largest))
    below.set_ylabel("error (%)", fontsize=9)
    for axes in (above, below):
        axes.set_xscale("log")
        axes.set_xlim(ends)
        axes.tick_params(labelsize=8.5)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axis in (above.xaxis, above.yaxis, below.xaxis):
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    above.tick_params(axis="x", labelbottom=False)
    below.set_xlabel("measured (ms)", fontsize=9, labelpad=2)
    above.legend(loc="upper left", fontsize=8.5, frameon=False)


def draw_overlay(path: Path, pairs: dict[str, tuple[Timeline, Timeline]], title: str) -> None:
    """For each named case its predicted timeline above its measured one, on one axis from the same steady step on.

    Raises ``ValueError`` when there is nothing to draw.
    """
    runs: dict[str, Timeline] = {}
    notes, windows = {}, {}
    for name, both in pairs.items():
        steps = common_steps(*both)
        for what, timeline in zip(("predicted", "measured"), both, strict=True):
            configuration, _, mode = name.rpartition(" ")
            run = f"{mode}, {what}: {configuration}"
            run = run if len(run) <= LONGEST else f"{run[: LONGEST - 3]}..."
            runs[run] = timeline
            windows[run] = _window(timeline, steps)
            ends = [d.time for d in timeline.deliveries if d.step in (steps.start - 1, steps.stop - 1)]
            if len(ends) == 2:
                notes[run] = f"{time((ends[1] - ends[0]) / 1000 / len(steps))} a step"
    draw_modes(path, runs, title, notes, windows)


def _window(timeline: Timeline, steps: range) -> tuple[int, int]:
    """From where a step's host work begins to the delivery of the step after it; all of a program."""
    spans = timeline.table
    if not steps:
        return int(timeline.column("start").min()), int(timeline.column("end").max())
    start = int(spans[timeline.column("step") == steps.start, 1].min())
    return start, next(d.time for d in timeline.deliveries if d.step == steps.stop - 1)
