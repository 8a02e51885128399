"""The shipped engines side by side: the knobs in which they differ."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from scenarios.engine import EnginePreset
from scenarios.loader import list_engines, load_engine


def engine_rows() -> list[dict[str, Any]]:
    """One object an engine; what it does not have is null, and ``missing`` has the reason."""
    return [_row(load_engine(name)) for name in list_engines()]


def _row(engine: EnginePreset) -> dict[str, Any]:
    overlap = None if "overlap" in engine.missing else engine.overlap
    return {
        "engine": engine.name,
        "title": engine.title,
        "overlap": None if overlap is None else overlap.loop,
        "host_threads": 1 if overlap is None else overlap.host_threads,
        "steps_in_flight": 1 if overlap is None else overlap.steps_in_flight,
        "late_rows": {"stop": engine.late_stop_token, "length": engine.late_stop_length} if overlap else None,
        "masks": None if "masks" in engine.missing else overlap.masks if overlap else "serial",
        "inputs": None if overlap is None else overlap.input_stream,
        "staging": None if overlap is None else overlap.staging,
        "copy_back": engine.copy_stream,
        "future_map": None if overlap is None else engine.future_map,
        "buckets": {"number": len(engine.buckets), "largest": engine.buckets[-1], "padded": engine.pad_to_bucket},
        "piecewise": None if engine.piecewise is None else engine.piecewise[-1],
        "missing": dict(engine.missing),
        "source": engine.source,
    }


def print_engines(console: Console) -> None:
    """A table of most of them: where inputs go, what guards them, and every source are in the rows."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    heads = (
        "engine",
        "overlap",
        "threads",
        "in flight",
        "late rows",
        "masks",
        "copy back",
        "slots",
        "graphs",
        "pieces",
    )
    for head in heads:
        table.add_column(head, no_wrap=True)
    for row in engine_rows():
        late = row["late_rows"]
        ends = [name for name, is_late in late.items() if is_late] if late else []
        buckets = row["buckets"]
        table.add_row(
            row["engine"],
            row["overlap"] or "-",
            str(row["host_threads"]),
            str(row["steps_in_flight"]),
            ", ".join(ends) or "-",
            *(row[key] or "-" for key in ("masks", "copy_back", "future_map")),
            f"{buckets['number']} to {buckets['largest']}" + ("" if buckets["padded"] else ", unpadded"),
            f"to {row['piecewise']}" if row["piecewise"] else "-",
        )
    console.print(table)
    for row in engine_rows():
        for what, why in row["missing"].items():
            console.print(f"{row['engine']} has no {what}: {why}", soft_wrap=True)
