"""What ``capacity`` prints and writes: one line a mode, its curve as rows and as a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from scenarios.units import format_duration
from sim.studies.capacity.picture import draw_curves
from sim.studies.capacity.slo import Bound
from sim.studies.capacity.study import Capacity, Point
from sim.studies.table import table
from sim.timeline.chrome import replacing

SIZES = ("requests_per_s", "batch_mean", "kv_blocks_max", "preemptions", "late_rows", "padding_rows")
"""Numbers of a point that a curve's rows have beside latencies."""


def print_capacities(console: Console, found: Mapping[str, Capacity], target: float | None) -> None:
    """A table of all modes and why each ends where it does."""
    first = next(iter(found.values()))
    console.print(Text(f"SLO {slo_words(first.slo)}"), soft_wrap=True)
    shown = table("mode", "sustains", "fails at", "draws that hold")
    if target is not None:
        shown.add_column(f"GPUs for {target:g}/s", justify="right")
    for mode, one in found.items():
        low, high = one.bracket.low, one.bracket.high
        cells = ["-", "0/s", "-"]
        if low:
            held, draws = one.at(low).num_holding(one.slo), len(one.at(low).draws)
            cells = [f"{low:.3g}/s", "-" if high == inf else f"{high:.3g}/s", f"{held} of {draws}"]
        if target is not None:
            cells.append(_gpus(one, target))
        shown.add_row(mode, *cells)
    console.print(shown)
    for sentence in _sentences(found, target):
        console.print(sentence, soft_wrap=True)


def _gpus(one: Capacity, target: float) -> str:
    count = one.gpus(target)
    if count is None:
        return "none do"
    enough, perhaps = count
    return f"{enough}" if enough == perhaps else f"{perhaps} to {enough}"


def _sentences(found: Mapping[str, Capacity], target: float | None) -> Iterator[str]:
    for mode, one in found.items():
        yield f"{mode}: {one.reason}" if one.bracket.low else f"{mode} meets it at no rate: {one.reason}"
    short = {mode: needed for mode, one in found.items() if (needed := one.too_short) is not None}
    if short:
        yield (
            f"the run is short: its requests have all come before the server is as full as it would get; for "
            f"{', '.join(short)} take --set workload.requests={max(short.values())} or more"
        )
    if target is not None:
        yield "so many servers of their own, over which requests are spread evenly and at random"


def slo_words(slo: Sequence[Bound]) -> str:
    """Such as ``ttft_p99 < 500ms, tpot_p99 < 40ms``."""
    return ", ".join(f"{bound.name} < {format_duration(bound.limit)}" for bound in slo)


def as_json(found: Mapping[str, Capacity], target: float | None) -> dict[str, Any]:
    """Each mode's bracket (requests a second), GPUs for the target (at most, at least), and every point tried."""
    return {
        mode: {
            "sustained_per_s": one.bracket.low,
            "fails_at_per_s": None if one.bracket.high == inf else one.bracket.high,
            "gpus": one.gpus(target) if target is not None else None,
            "reason": one.reason,
            "requests_needed": one.too_short,
            "points": [_row(point, one.slo) for point in (one.alone, *one.points)],
        }
        for mode, one in found.items()
    }


def _row(point: Point, slo: Sequence[Bound]) -> dict[str, Any]:
    held = point.num_holding(slo)
    about = {"rate": point.rate, "holds": point.holds(slo), "draws": len(point.draws), "draws_holding": held}
    return about | point.numbers


def write_capacity(folder: Path, found: Mapping[str, Capacity], answer: Mapping[str, Any], title: str) -> list[Path]:
    """Write ``capacity.json``, ``capacity.csv`` and, where a mode sustains anything, ``capacity.png`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "capacity.json", folder / "capacity.csv"]
    with replacing(written[0]) as path:
        path.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    with replacing(written[1]) as path:
        _write_rows(path, found)
    if any(one.points for one in found.values()):
        written.append(folder / "capacity.png")
        with replacing(written[-1]) as path:
            draw_curves(path, found, title)
    return written


def _write_rows(path: Path, found: Mapping[str, Capacity]) -> None:
    latencies = [key for key in next(iter(found.values())).alone.numbers if key.endswith("_us")]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("mode", "rate_per_s", "holds", "saturated", *latencies, *SIZES))
        for mode, one in found.items():
            for point in one.points:
                values = (point.numbers[key] for key in (*latencies, *SIZES))
                out.writerow((mode, point.rate, point.holds(one.slo), point.numbers["saturated"], *values))
