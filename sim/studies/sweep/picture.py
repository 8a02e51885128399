"""A heat map of the speedup over two axes, with the lines beyond which graphs and overlap stop paying."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sim.studies.sweep.axes import Axis
from sim.studies.sweep.evaluate import Row, number
from sim.timeline.chrome import replacing

PAYS = 1.01
LINES = {
    "graphs stop paying": (("serial-graph", "serial-eager"), ("graph", "eager")),
    "overlap stops paying": (("overlap-graph", "serial-graph"), ("overlap-eager", "serial-eager")),
}
"""Pairs of modes, of which the first that was run decides whether something pays."""
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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(
        speedup_map(rows, across, up, modes[-1], modes[0]), origin="lower", aspect="auto", cmap="viridis"
    )
    figure.colorbar(image, label=f"speedup of {modes[-1]} over {modes[0]}")
    for (label, pairs), colour in zip(LINES.items(), ("white", "orangered"), strict=True):
        pair = next((pair for pair in pairs if set(pair) <= set(modes)), None)
        ratio = None if pair is None else speedup_map(rows, across, up, *pair)
        if ratio is None or min(ratio.shape) < 2 or not np.nanmin(ratio) < PAYS <= np.nanmax(ratio):
            continue
        axes.contour(ratio, levels=[PAYS], colors=colour, linewidths=2)
        axes.plot([], [], color=colour, linewidth=2, label=label)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(facecolor="grey", loc="best")
    axes.set_xticks(range(len(across.values)), across.values, rotation=45 if len(across.values) > 8 else 0)
    axes.set_yticks(range(len(up.values)), up.values)
    axes.set_xlabel(across.key)
    axes.set_ylabel(up.key)
    axes.set_title(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
