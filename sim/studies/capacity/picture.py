"""Latency against rate, mode by mode: where each curve crosses its bound is what the server sustains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.studies.capacity.study import Capacity
from sim.timeline.picture import DPI

COLOURS = ("#999999", "#D55E00", "#E69F00", "#56B4E9", "#0072B2", "#009E73", "#CC79A7", "#000000")  # Okabe and Ito's


def draw_curves(path: Path, found: Mapping[str, Capacity], title: str) -> None:
    """Draw a panel a bound as a PNG; hollow marks are rates at which requests queue up without end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    slo = next(iter(found.values())).slo
    figure = Figure(figsize=(8, 0.8 + 3 * len(slo)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    panels: Any = figure.subplots(len(slo), 1, sharex=True, squeeze=False)[:, 0]
    for axes, bound in zip(panels, slo, strict=True):
        for (mode, one), colour in zip(found.items(), COLOURS * 4, strict=False):
            points = [p for p in one.points if p.numbers[bound.key] is not None]
            if not points:
                continue
            rates, values = [p.rate for p in points], [p.numbers[bound.key] / 1000 for p in points]
            axes.plot(rates, values, color=colour, linewidth=1.4, label=mode)
            ends = [p.numbers.get("intervals", {}).get(bound.key) for p in points]
            if all(ends):
                low, high = ([end[side] / 1000 for end in ends] for side in (0, 1))
                axes.fill_between(rates, low, high, color=colour, alpha=0.18, linewidth=0)
            for point, value in zip(points, values, strict=True):
                face = "white" if point.numbers["saturated"] else colour
                axes.plot(point.rate, value, "o", color=colour, markerfacecolor=face, markersize=3.5)
            axes.axvline(one.bracket.low, color=colour, linewidth=0.8, linestyle=":")
        axes.axhline(bound.limit / 1e6, color="black", linewidth=1)
        axes.set_yscale("log")
        for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis(LogFormatter(minor_thresholds=(2, 1)))
        axes.set_title(f"{bound.name.replace('_', ' ')} in ms, and its bound", loc="left", fontsize=9)
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("rate (requests/s)")
    if any(point.numbers["saturated"] for one in found.values() for point in one.points):
        panels[0].plot([], [], "o", color="black", markerfacecolor="white", markersize=3.5, label="requests pile up")
    panels[0].legend(fontsize=8, frameon=False)
    figure.savefig(path, format="png", metadata={"Software": None})
