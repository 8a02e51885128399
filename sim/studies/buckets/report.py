"""What ``buckets`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from sim.studies.buckets.study import Judged
from sim.studies.table import time


def print_judged(console: Console, rows: Sequence[Judged], base: Judged) -> None:
    """A line a list; the gain is in mean TPOT against ``base``."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("list", no_wrap=True)
    for name in ("graphs", "memory", "padding", "eager steps", "TPOT mean", "TPOT p99", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            str(len(row.buckets)),
            f"{row.memory / 2**20:.1f} MiB",
            f"{row.padding:.2%}",
            f"{row.eager:.2%}",
            time(row.tpot_mean / 1000),
            time(row.tpot_p99 / 1000),
            f"{base.tpot_mean / row.tpot_mean - 1:+.2%}",
        )
    console.print(table)


def as_setting(buckets: Sequence[int]) -> str:
    """A list as an override of a scenario."""
    return f"engine.buckets=[{', '.join(map(str, buckets))}]"
