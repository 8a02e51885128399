"""How full a server is over time, as a picture: rows a step, KV cache, requests that wait and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.timeline.load import LoadOverTime
from sim.timeline.picture import DPI
from sim.timeline.spans import Timeline

COLOURS = ("#999999", "#D55E00", "#E69F00", "#56B4E9", "#0072B2")  # Okabe and Ito's, which the colour-blind tell apart
PANELS = {
    "batch": "rows a step",
    "kv_blocks": "KV blocks in use",
    "running": "requests running",
    "waiting": "requests waiting",
}


def draw_load(path: Path, runs: Mapping[str, Sequence[Timeline]], title: str) -> None:
    """Draw the load of every mode's servers as a PNG, a panel a quantity, on one time axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 8), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    panels: Any = figure.subplots(len(PANELS), 1, sharex=True)
    found = {mode: LoadOverTime.of(*servers) for mode, servers in runs.items()}
    for axes, (name, label) in zip(panels, PANELS.items(), strict=True):
        for (mode, load), colour in zip(found.items(), COLOURS, strict=False):
            axes.plot(load.until / 1e9, getattr(load, name), color=colour, linewidth=1.2, label=mode)
        axes.set_title(label, loc="left", fontsize=9)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("time (s)", fontsize=9)
    lines, modes = panels[0].get_legend_handles_labels()
    figure.legend(lines, modes, loc="outside lower right", fontsize=8, frameon=False, ncols=len(found))
    figure.savefig(path, format="png", metadata={"Software": None})
