"""Timelines as a picture: the modes under each other on one time axis, so that their difference is seen at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.timeline.chrome import replacing
from sim.timeline.spans import Column, Kind, Place, Timeline, Track

Interval = tuple[int, int]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Paint:
    """How one sort of time is drawn; the place in ``PAINTS`` is its number."""

    label: str
    face: str
    ink: str = "black"  # of a label written on it
    hatch: str = ""


# Okabe and Ito's colours, which the colour-blind tell apart. Later paints are drawn over earlier ones.
PAINTS = (
    Paint("no request to serve", "#f4f4f4"),
    Paint("wait for the device", "#fafafa", hatch="/////"),
    Paint("other host work", "#999999"),
    Paint("receive", "#CC79A7"),
    Paint("schedule", "#E69F00"),
    Paint("prepare", "#F0E442"),
    Paint("process", "#009E73", "white"),
    Paint("launch calls of N, N+2, ...", "#D55E00", "white"),
    Paint("kernels of N, N+2, ...", "#0072B2", "white"),
    Paint("kernels of N+1, N+3, ...", "#56B4E9"),
    Paint("copies", "#000000", "white"),
    Paint("launch calls of N+1, N+3, ...", "#F2A673"),
)
NO_WORK, WAIT, OTHER, CALL, EVEN, ODD, COPY, CALL_ODD = 0, 1, 2, 7, 8, 9, 10, 11
HOST_PAINTS = {paint.label: number for number, paint in enumerate(PAINTS) if OTHER < number < CALL}
HOST_PAINTS |= {"enter stream": CALL, "launch": CALL}  # what a framework does between its calls
IDLE = "#f9c9bd"
PALE = "#bbbbbb"  # the edge of what is nearly white
MIXED = -1  # of a merged run: more than one step, or more than one name
MERGE, ALONE = 4, 8  # pixels: gaps narrower than the one vanish, spans wider than the other are never merged
UNITS = (("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1))

WIDTH, DPI = 12.0, 150  # inches, pixels an inch
LEFT, RIGHT, LANE, HEADER, GAP, TITLE, AXIS, LEGEND = 1.15, 0.2, 0.3, 0.3, 0.12, 0.42, 0.3, 0.66  # inches
LETTER = 0.066  # inches of a lane's name, on the average
PIXELS = (WIDTH - LEFT - RIGHT) * DPI  # across a lane
FOOT, TALL = 0.08, 0.84  # of a lane: where bars stand, how high they are at most


@dataclass(frozen=True, slots=True)
class Runs:
    """Merged spans as columns: ``covered`` is the time (ns) within a run that some span of it takes."""

    start: Column
    end: Column
    covered: Column
    paint: Column
    step: Column
    name: Column


def draw_modes(
    path: str | Path,
    runs: Mapping[str, Timeline],
    title: str,
    notes: Mapping[str, str] | None = None,
    window: Mapping[str, Interval] | None = None,
) -> None:
    """Draw the modes as a PNG, a panel each, on one time axis.

    Time 0 is the start of each mode's window (ns) and the axis as long as the longest window, so that a faster mode
    shows how much further it gets. Without a window a mode is drawn whole. A lane is a host thread or a stream, N the
    first step that a panel shows. Spans narrower than a few pixels are merged with neighbours of the same colour; a
    bar of kernels is as high as the share of its time that they run, and light red is device time without a span on
    any stream of that rank. Triangles mark deliveries. Equal arguments give equal bytes on one version of matplotlib.
    Raises ``ValueError`` when there is nothing to draw.
    """
    windows = {run: (window or {}).get(run) or _extent(timeline) for run, timeline in runs.items()}
    length = max((end - start for start, end in windows.values()), default=0)
    if length <= 0:
        raise ValueError("nothing to draw: no run has a window longer than 0 ns")
    views = {run: (windows[run][0], windows[run][0] + length) for run in runs}
    figure = _draw(runs, views, title, notes or {})
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def draw_program(
    path: str | Path, runs: Mapping[str, Timeline], title: str, notes: Mapping[str, str] | None = None
) -> None:
    """Draw whole timelines, each from its first span; kernels that belong to no step are labelled by name."""
    draw_modes(path, runs, title, notes)


def merge_spans(spans: Column, paint: Column, gap: int, wide: int) -> Runs:
    """Merge rows of a timeline, sorted by start, of one lane into as few bars as the eye can tell apart.

    A span joins the run before it of the same paint if it starts less than ``gap`` ns after that run's end. Spans of at
    least ``wide`` ns stay by themselves.
    """
    columns: list[Column] = []
    for number in np.unique(paint):
        start, end, name, step = spans[paint == number][:, [1, 2, 4, 6]].T
        reached = np.maximum.accumulate(end)
        before = np.concatenate((start[:1], reached[:-1]))
        alone = end - start >= wide
        opens = (start - before >= gap) | alone | np.concatenate(([True], alone[:-1]))
        opens[0] = True
        first = np.flatnonzero(opens)
        fresh = np.where(opens, start, np.maximum(start, before))  # what a run takes of its own, overlaps counted once
        covered = np.add.reduceat(np.maximum(end - fresh, 0), first)
        one_step = np.minimum.reduceat(step, first) == np.maximum.reduceat(step, first)
        one_name = np.minimum.reduceat(name, first) == np.maximum.reduceat(name, first)
        columns.append(
            np.stack(
                (
                    start[first],
                    np.maximum.reduceat(end, first),
                    covered,
                    np.full(len(first), number),
                    np.where(one_step, step[first], MIXED),
                    np.where(one_name, name[first], MIXED),
                )
            )
        )
    return Runs(*np.concatenate(columns, axis=1)) if columns else Runs(*np.empty((6, 0), np.int64))


def idle_intervals(spans: Column, start: int, end: int) -> Column:
    """The parts of ``[start, end)`` that no span covers, as rows of start and end; spans are sorted by start."""
    busy_from = np.append(np.clip(spans[:, 1], start, end), end)
    busy_to = np.insert(np.maximum.accumulate(np.clip(spans[:, 2], start, end)), 0, start)
    idle = np.stack((busy_to, busy_from), axis=1)
    return idle[idle[:, 0] < idle[:, 1]]


def _extent(timeline: Timeline) -> Interval:
    if not len(timeline.table):
        return 0, 0
    return int(timeline.column("start").min()), int(timeline.column("end").max())


def _paints(timeline: Timeline, spans: Column) -> Column:
    """The number of each span's paint: host work by its name, launches and kernels by the parity of their step."""
    kind, name, step = spans[:, 3], spans[:, 4], spans[:, 6]
    of_kind = np.array([EVEN, COPY, COPY, OTHER, CALL, WAIT, NO_WORK])  # in the order of Kind
    of_name = np.array([HOST_PAINTS.get(text, OTHER) for text in timeline.names], dtype=np.int64)
    paint = np.where(kind == Kind.HOST, of_name[name], of_kind[kind])
    odd = (step >= 0) & (step % 2 == 1)
    paint = np.where((paint == CALL) & odd, CALL_ODD, paint)
    return np.where((kind == Kind.KERNEL) & odd, ODD, paint)


def _draw(runs: Mapping[str, Timeline], views: Mapping[str, Interval], title: str, notes: Mapping[str, str]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a third of a second, only for pictures
    from matplotlib.figure import Figure

    lanes = {run: _lanes(timeline) for run, timeline in runs.items()}
    heights = {run: LANE * len(lanes[run]) for run in runs}
    total = TITLE + sum(heights.values()) + (HEADER + GAP) * len(runs) + AXIS + LEGEND
    left = max(LEFT, LETTER * max(len(name) for timeline in runs.values() for name in lane_names(timeline)))
    width = WIDTH - LEFT + left
    figure = Figure(figsize=(width, total))
    FigureCanvasAgg(figure)
    figure.text(left / width, 1 - 0.14 / total, title, fontsize=13, weight="bold", va="top")
    length = next(end - start for start, end in views.values())
    unit, scale = next((unit, ns) for unit, ns in UNITS if length >= 2 * ns or ns == 1)
    top, used, last = total - TITLE, set[int](), list(runs)[-1]
    for run, timeline in runs.items():
        top -= HEADER + heights[run]
        area = (left / width, top / total, (WIDTH - LEFT - RIGHT) / width, heights[run] / total)
        axes = figure.add_axes(area)
        used |= _panel(axes, timeline, lanes[run], views[run], scale)
        axes.set_title(run, loc="left", fontsize=10.5, weight="bold", pad=7)
        axes.set_title(notes.get(run, ""), loc="right", fontsize=10.5, pad=7)
        axes.set_xlim(0, length / scale)
        top -= GAP
        if run == last:
            axes.set_xlabel(f"time ({unit})", fontsize=9, labelpad=2)
        else:
            axes.tick_params(labelbottom=False)
    _legend(figure, used, any(t.deliveries for t in runs.values()), total)
    return figure


def _lanes(timeline: Timeline) -> list[int]:
    """Track numbers from top to bottom: rank by rank, host threads above streams."""
    tracks = timeline.tracks
    return sorted(range(len(tracks)), key=lambda i: (tracks[i].rank, tracks[i].place is Place.STREAM))


def lane_names(timeline: Timeline) -> list[str]:
    """What stands before each track's lane; where there are several ranks it says which."""
    several = len({track.rank for track in timeline.tracks}) > 1
    return [_lane_name(track, several=several) for track in timeline.tracks]


def _lane_name(track: Track, *, several: bool) -> str:
    place = "stream" if track.place is Place.STREAM else "host"
    rank = f"rank {track.rank}"
    return f"{place}: {track.name}" + (f" ({rank})" if several and rank not in track.name else "")


def _panel(axes: Any, timeline: Timeline, lanes: Sequence[int], view: Interval, scale: int) -> set[int]:
    """Draw one mode and return the paints it used."""
    start, end = view
    shown = timeline.window(start, end)
    spans = shown.table.copy()
    spans[:, 1:3] = np.clip(spans[:, 1:3], start, end) - start
    if not timeline.deliveries:
        spans[:, 6] = -1  # a program has launches, but no steps
    stepped = spans[:, 6] >= 0
    spans[stepped, 6] -= spans[stepped, 6].min(initial=2**62)
    paints = _paints(timeline, spans)
    ranks = np.array([track.rank for track in timeline.tracks])
    pixel = (end - start) / PIXELS
    used: set[int] = set()
    busiest, last = _busiest(timeline, shown), int(timeline.column("end").max(initial=start))
    for number, bottom in zip(lanes, reversed(range(len(lanes))), strict=True):
        track = timeline.tracks[number]
        if number in busiest:
            on_device = spans[shown.on_device & (ranks[spans[:, 0]] == track.rank)]
            _idle(axes, idle_intervals(on_device, 0, min(end, last) - start), bottom, pixel, scale)
        mine = spans[:, 0] == number
        merged = merge_spans(spans[mine], paints[mine], round(MERGE * pixel), round(ALONE * pixel))
        used |= set(merged.paint.tolist())
        _bars(axes, merged, bottom, pixel, scale)
        for x, height, text, ink in _labels(merged, timeline.names, pixel):
            axes.text(x / scale, bottom + height, text, color=ink, fontsize=8, ha="center", va="center")
    if len(shown.deliveries) * 12 < PIXELS:  # they would touch
        times = [(delivery.time - start) / scale for delivery in shown.deliveries]
        axes.plot(times, [len(lanes)] * len(times), "v", color="black", markersize=4.5, clip_on=False)
    names = lane_names(timeline)
    axes.set_ylim(0, len(lanes))
    axes.set_yticks(
        [bottom + 0.5 for bottom in range(len(lanes))],
        [names[number] for number in reversed(lanes)],
    )
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.tick_params(axis="x", labelsize=8.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return used


def _busiest(timeline: Timeline, shown: Timeline) -> set[int]:
    """Of each rank the stream that runs longest: on its lane the device's idle time is shown."""
    spans = shown.table[shown.on_device]
    ran = np.bincount(spans[:, 0], weights=spans[:, 2] - spans[:, 1], minlength=len(timeline.tracks))
    best: dict[int, int] = {}
    for number, track in enumerate(timeline.tracks):
        if track.place is Place.STREAM and ran[number] > ran[best.get(track.rank, number)] - (track.rank not in best):
            best[track.rank] = number
    return set(best.values())


def _idle(axes: Any, idle: Column, bottom: int, pixel: float, scale: int) -> None:
    """Hang the idle time of a device from the top of a lane; kernels stand at its bottom, so the two share it."""
    spans = np.zeros((len(idle), 7), np.int64)
    spans[:, 1:3] = idle
    merged = merge_spans(spans, spans[:, 0], round(MERGE * pixel), round(MERGE * pixel))
    top = np.full(len(merged.start), bottom + FOOT + TALL)
    _polygons(axes, merged, scale, top - TALL * _share(merged), top, color=IDLE, linewidth=0)


def _bars(axes: Any, merged: Runs, bottom: int, pixel: float, scale: int) -> None:
    for number in np.unique(merged.paint):
        runs, paint = _select(merged, merged.paint == number), PAINTS[number]
        foot, height = np.full(len(runs.start), bottom + FOOT), np.full(len(runs.start), TALL)
        if number in (EVEN, ODD):
            height *= _share(runs)
        else:  # what is rare must not vanish because it is short
            runs = replace(runs, end=np.maximum(runs.end, runs.start + round(1.5 * pixel)))
        style: dict[str, Any] = {
            "edgecolor": "white",
            "linewidth": np.where(runs.end - runs.start >= ALONE * pixel, 0.5, 0),
        }
        if number in (NO_WORK, WAIT):
            style = {"edgecolor": PALE, "linewidth": 0.4, "hatch": paint.hatch}
        _polygons(axes, runs, scale, foot, foot + height, facecolor=paint.face, **style)


def _select(runs: Runs, which: npt.NDArray[np.bool_]) -> Runs:
    return Runs(*(getattr(runs, column.name)[which] for column in fields(Runs)))


def _share(runs: Runs) -> Floats:
    share: Floats = runs.covered / np.maximum(runs.end - runs.start, 1)
    return share


def _polygons(axes: Any, runs: Runs, scale: int, low: Floats, high: Floats, **style: Any) -> None:
    from matplotlib.collections import PolyCollection

    left, right = runs.start / scale, runs.end / scale
    corners: Any = np.stack((left, low, left, high, right, high, right, low), axis=1).reshape(-1, 4, 2)
    # Snapped to whole pixels, spans narrower than one would be drawn as one or not at all.
    axes.add_collection(PolyCollection(corners, snap=False, **style), autolim=False)


def _labels(merged: Runs, names: Sequence[str], pixel: float) -> Iterator[tuple[float, float, str, str]]:
    """Time, height, text and colour of the labels that fit: a step once a paint, else a name on its own bar."""
    done = set[tuple[int, int]]()
    shares = np.where(np.isin(merged.paint, (EVEN, ODD)), _share(merged), 1.0)
    for i in np.argsort(merged.start - merged.end, kind="stable").tolist():  # the longest first
        paint, step, name = int(merged.paint[i]), int(merged.step[i]), int(merged.name[i])
        if paint in (NO_WORK, WAIT) or (paint, step) in done:
            continue
        if step != MIXED:
            text = f"N+{step}" if step else "N"
            done.add((paint, step))
        elif name != MIXED and paint in (OTHER, EVEN, COPY):
            text = names[name]
        else:
            continue
        if merged.end[i] - merged.start[i] >= (10.5 * len(text) + 4) * pixel:
            low = shares[i] < 0.5  # the bar is lower than its label, which stands above it
            height = FOOT + TALL * ((1 + shares[i]) / 2 if low else shares[i] / 2) - 0.03  # letters sit high
            yield (merged.start[i] + merged.end[i]) / 2, height, text, "black" if low else PAINTS[paint].ink


def _legend(figure: Any, used: set[int], deliveries: bool, total: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Any] = []
    for number in sorted(used, key=lambda number: (number in (NO_WORK, WAIT), number)):
        paint = PAINTS[number]
        label = paint.label if deliveries else paint.label.split(" of ")[0]
        edge = PALE if number in (NO_WORK, WAIT) else paint.face
        entries.append(Patch(facecolor=paint.face, edgecolor=edge, hatch=paint.hatch, label=label))
    entries.append(Patch(facecolor=IDLE, label="device idle (share, where gaps are small)"))
    if deliveries:
        entries.append(Line2D([], [], color="black", marker="v", linestyle="", markersize=4.5, label="step delivered"))
    figure.legend(
        handles=entries,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.02 / total),
        ncols=min(5, (len(entries) + 1) // 2),
        fontsize=8.5,
        frameon=False,
        handlelength=1.6,
        columnspacing=1.6,
    )
