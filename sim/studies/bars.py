"""Bars: what one thing is made of, beside another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.studies.breakdown import Breakdown
from sim.studies.table import time
from sim.timeline.chrome import replacing
from sim.timeline.picture import DPI, PAINTS

WIDTH, ROW, HEAD, FOOT, LEFT = 9.0, 0.24, 0.75, 0.75, 2.6  # inches
PAINT_OF = {paint.label: paint.face for paint in PAINTS}
HOST_PART_COLOURS = {
    "schedule": PAINT_OF["schedule"],
    "prepare": PAINT_OF["prepare"],
    "launch": PAINT_OF["launch calls of N, N+2, ..."],
    "process": PAINT_OF["process"],
    "wait": "#eeeeee",
    "other": "#bbbbbb",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: its parts in microseconds, from left to right, and a mark (None: none) for what was measured."""

    label: str
    parts: Mapping[str, float]
    mark: float | None = None
    note: str = ""


def draw_bars(
    path: Path, bars: Sequence[Bar], colours: Mapping[str, str], title: str, *, unit: str, logarithmic: bool = False
) -> None:
    """Draw rows of stacked bars as a PNG, times in microseconds; raises ``ValueError`` when there are none."""
    if not bars:
        raise ValueError("nothing to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = HEAD + FOOT + ROW * len(bars)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((LEFT / WIDTH, FOOT / height, (WIDTH - LEFT - 0.9) / WIDTH, ROW * len(bars) / height))
    drawn = dict.fromkeys(part for bar in bars for part in bar.parts)
    for row, bar in enumerate(bars):
        start = 0.0
        for part, us in bar.parts.items():
            axes.barh(row, us, left=start, height=0.78, color=colours[part], edgecolor="white", linewidth=0.3)
            start += us
        if bar.mark is not None:
            axes.plot([bar.mark, bar.mark], [row - 0.45, row + 0.45], color="black", linewidth=1.6)
        axes.text(max(start, bar.mark or 0), row, f" {bar.note or time(start)}", va="center", fontsize=7)
    _frame(axes, [bar.label for bar in bars], unit, logarithmic=logarithmic)
    _legend(figure, {part: colours[part] for part in drawn}, height, marks=any(bar.mark is not None for bar in bars))
    figure.text(0.02, 1 - 0.25 / height, title, fontsize=10.5, weight="bold", va="center")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def _frame(axes: Any, labels: Sequence[str], unit: str, *, logarithmic: bool) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=7.5)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel(unit, fontsize=8)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _legend(figure: Any, colours: Mapping[str, str], height: float, *, marks: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=colour, label=part) for part, colour in colours.items()]
    if marks:
        handles.append(Line2D([], [], color="black", marker="|", linestyle="", markersize=9, label="measured"))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.02, 1 - 0.36 / height), ncols=7, fontsize=7.5,
        frameon=False, handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip


def draw_breakdown(path: Path, breakdown: Breakdown) -> None:
    """A bar a value and mode: a server's step by what its host does, a program's launching and the rest."""
    bars = []
    for point in breakdown.points:
        for mode, found in point.results.modes.items():
            if breakdown.is_program:
                host = min(found["host_us"], found["total_us"])
                parts = {"launch": host, "wait": found["total_us"] - host}
            else:
                parts = {part: found["host"][part] for part in HOST_PART_COLOURS if found["host"][part] > 0}
            hardware = point.hardware.modes.get(mode) if point.hardware else None
            label = f"{breakdown.key}={point.value}  {mode}" if point.value else mode
            bars.append(Bar(label, parts, hardware.us if hardware else None))
    title = breakdown.points[0].results.loaded.scenario.title
    what = "of the whole program" if breakdown.is_program else "of one step"
    draw_bars(path, bars, HOST_PART_COLOURS, title, unit=f"us {what}, by what the host thread does")
