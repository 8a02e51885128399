"""A heat map of the speedup over two axes, with the lines beyond which graphs and overlap stop paying."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.studies.sweep.axes import Axis
from sim.studies.sweep.evaluate import Row, number
from sim.timeline.chrome import replacing

PAYS = 1.01
LINES = {
    "graphs": (("serial-graph", "serial-eager"), ("overlap-graph", "overlap-eager"), ("graph", "eager")),
    "overlap": (("overlap-graph", "serial-graph"), ("overlap-eager", "serial-eager")),
}
"""Pairs of modes, of which the first that was run decides whether something pays."""
STOPS = "where the gain ends"
LEGIBLE = 160
"""Cells whose numbers can be read."""
NAMED = 24
"""Values of an axis whose names can."""
Map = npt.NDArray[np.float64]


def speedup_map(rows: Sequence[Row], across: Axis, up: Axis, mode: str, base: str) -> Map:
    """Mean ratio of two modes' speedups at each pair of values, ``up`` by ``across``; NaN where no point is."""
    cells: dict[tuple[object, object], list[float]] = defaultdict(list)
    for row in rows:
        if row.get(f"{mode}.speedup") is not None:
            cells[row[up.key], row[across.key]].append(row[f"{mode}.speedup"] / row[f"{base}.speedup"])
    return np.array([
        [np.mean(found) if (found := cells.get((number(y), number(x)))) else np.nan for x in across.values]
        for y in up.values
    ])  # fmt: skip


def draw_map(path: Path, rows: Sequence[Row], across: Axis, up: Axis, modes: Sequence[str], title: str) -> None:
    """Draw how many times faster the last mode is than the first."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, NullLocator

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ratios = speedup_map(rows, across, up, modes[-1], modes[0])
    low, high = np.nanmin(ratios), np.nanmax(ratios)
    norm = LogNorm(low, max(high, low * PAYS))  # a gain of a tenth is seen beside one of three times
    image = axes.imshow(ratios, origin="lower", aspect="auto", cmap="viridis", norm=norm)
    bar = figure.colorbar(image, label=f"speedup of {modes[-1]} over {modes[0]}", format=FormatStrFormatter("%.2f"))
    bar.set_ticks(np.geomspace(norm.vmin or low, norm.vmax or high, 6).tolist())
    bar.ax.yaxis.set_minor_locator(NullLocator())
    if ratios.size <= LEGIBLE:
        for (y, x), ratio in np.ndenumerate(ratios):
            if np.isfinite(ratio):
                shade = "black" if norm(ratio) > 0.6 else "white"
                axes.text(x, y, f"{ratio:.2f}", ha="center", va="center", color=shade, fontsize=7)
    for (what, pairs), colour in zip(LINES.items(), ("white", "orangered"), strict=True):
        pair = next((pair for pair in pairs if set(pair) <= set(modes)), None)
        if pair is not None:
            said = _line(axes, speedup_map(rows, across, up, *pair), colour)
            axes.plot([], [], color=colour, linewidth=2 if said == STOPS else 0, label=f"{what}: {said}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(facecolor="grey", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    for axis, ticks in ((across, axes.set_xticks), (up, axes.set_yticks)):
        shown = range(0, len(axis.values), -(-len(axis.values) // NAMED))
        ticks(shown, [axis.values[i] for i in shown], rotation=45 if axis is across and len(shown) > 8 else 0)
    axes.set_xlabel(across.key)
    axes.set_ylabel(up.key)
    axes.set_title(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _line(axes: Any, ratios: Map, colour: str) -> str:
    """Draw where something stops paying, or say that it does so everywhere or nowhere."""
    pays = ratios[np.isfinite(ratios)] >= PAYS
    if pays.all():
        return "a gain everywhere"
    if not pays.any():
        return "no gain anywhere"
    if min(ratios.shape) < 2:
        return "a gain at some points"
    axes.contour(ratios, levels=[PAYS], colors=colour, linewidths=2)
    return STOPS
