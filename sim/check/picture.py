"""A broken run as a picture: who waited and who was computed, on the server's timeline, the offending spans in red."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sim.check.attacks import Broken
from sim.timeline.chrome import replacing
from sim.timeline.spans import Kind, Place, Timeline

WIDTH, LANE, HEAD, FOOT = 10.0, 0.34, 0.9, 0.75  # inches
RED, WAITING, PROMPT, DECODE, HOST, DEVICE = "#D00000", "#dddddd", "#E69F00", "#009E73", "#999999", "#0072B2"
US = 1_000
Bar = tuple[float, float, str]


def draw_broken(path: Path, broken: Broken, arrivals: Sequence[int], title: str) -> None:
    """Draw a lane a request and a lane a track as a PNG; a red line stands where the run was broken off.

    ``arrivals`` are nanoseconds, by request. A request's bars are the device time of the steps that computed its prompt
    or a token of it, and grey from its arrival on while it waits. Spans that show a violation are framed in red, and so
    are the requests that its sentence names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    timeline = broken.timeline
    end = max([int(timeline.column("end").max(initial=0)), *arrivals, 1])
    lanes = [(f"request {i}", _request(broken, i, arrival, end)) for i, arrival in enumerate(arrivals)]
    lanes += [
        (f"{'stream' if t.place is Place.STREAM else 'host'}: {t.name}", _track(timeline, n))
        for n, t in enumerate(timeline.tracks)
    ]
    height = HEAD + LANE * len(lanes) + FOOT
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.12, FOOT / height, 0.85, LANE * len(lanes) / height))
    least = end / US / 400  # what is rare must not vanish because it is short
    for lane, (_, bars) in enumerate(lanes):
        for start, length, colour in bars:
            axes.broken_barh([(start, max(length, least))], (lane + 0.12, 0.76), facecolors=colour)
    offending = {row for violation in broken.violations for row in violation.spans}
    for row in offending:
        track, start, stop, *_ = timeline.table[row].tolist()
        at = len(arrivals) + track
        marked = [(start / US, max((stop - start) / US, least))]
        axes.broken_barh(marked, (at + 0.06, 0.88), facecolors="none", edgecolors=RED, linewidth=2)
    for number in _named(broken) & set(range(len(arrivals))):
        (start, length, _), *_ = lanes[number][1]
        axes.broken_barh([(start, length)], (number + 0.06, 0.88), facecolors="none", edgecolors=RED, linewidth=2)
    if not offending:
        axes.axvline(end / US, color=RED, linewidth=2)
    axes.plot([a / US for a in arrivals], [i + 0.5 for i in range(len(arrivals))], ">", color="black", markersize=4)
    axes.set(xlim=(-0.01 * end / US, 1.02 * end / US), ylim=(len(lanes), 0), xlabel="time (us)")
    axes.set_yticks([lane + 0.5 for lane in range(len(lanes))], [name for name, _ in lanes])
    axes.tick_params(labelsize=8.5, left=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, x=0.02, y=1 - 0.1 / height, ha="left", va="top", fontsize=10, wrap=True)
    _legend(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})


def _named(broken: Broken) -> set[int]:
    """The requests that a violation speaks of."""
    lists = [found for v in broken.violations for found in re.findall(r"requests? \[?(\d+(?:, \d+)*)", v.sentence)]
    return {int(number) for found in lists for number in found.split(", ")}


def _request(broken: Broken, number: int, arrival: int, end: int) -> list[Bar]:
    table = broken.timeline.table
    spans = table[broken.timeline.on_device]
    bars: list[Bar] = []
    ended = end
    for batch in broken.batches:
        if number not in {r.id for r in batch.members}:
            continue
        mine = spans[spans[:, 6] == batch.index]
        if len(mine):
            prompt = number in {chunk.request.id for chunk in batch.prompts}
            start, stop = int(mine[:, 1].min()), int(mine[:, 2].max())
            bars.append((start / US, (stop - start) / US, PROMPT if prompt else DECODE))
    for served in broken.timeline.served:
        ended = served.last if served.request == number else ended
    return [(arrival / US, (ended - arrival) / US, WAITING), *bars]


def _track(timeline: Timeline, number: int) -> list[Bar]:
    rows = timeline.table[timeline.column("track") == number].tolist()
    colour = {Kind.WAIT: WAITING, Kind.NO_WORK: WAITING}
    on_stream = timeline.tracks[number].place is Place.STREAM
    return [
        (start / US, (end - start) / US, DEVICE if on_stream else colour.get(Kind(kind), HOST))
        for _, start, end, kind, *_ in rows
    ]


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    painted = {"waits": WAITING, "prompt": PROMPT, "decode": DECODE, "host": HOST, "device": DEVICE, "broken": RED}
    handles: list[Any] = [Patch(facecolor=colour, label=label) for label, colour in painted.items()]
    handles.append(Line2D([], [], color="black", marker=">", linestyle="", markersize=4, label="arrival"))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=8, frameon=False)
