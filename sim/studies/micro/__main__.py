"""``python -m sim.studies.micro [FOLDER]``: how far the model is from a folder of measurements, as a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from statistics import median

from sim.studies.micro.comparison import everything
from sim.studies.micro.tables import Row, Tables

HEAD = "| group | rows | | median error | worst | worst row |\n|---|---|---|---|---|---|\n"

FOLDER = Path("gpu/results/nvidia-h200/2026-11-23")


def summary(rows: Iterable[Row]) -> Iterator[str]:
    """A line of a Markdown table for each group's fitted rows, and one for its held-out rows."""
    yield HEAD
    by_kind = sorted(rows, key=lambda row: (row.group, row.fitted))
    for (group, fitted), same in groupby(by_kind, key=lambda row: (row.group, row.fitted)):
        errors = [(abs(row.error), row.name) for row in same]
        worst, name = max(errors)
        kind = "fitted" if fitted else "held out"
        middle = median(error for error, _ in errors)
        yield f"| {group} | {len(errors)} | {kind} | {middle:.1f} % | {worst:.1f} % | {name} |\n"


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="python -m sim.studies.micro", description="The model against measurements")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--rows", action="store_true", help="every row, too")
    options = parser.parse_args()
    rows = list(everything(Tables.load(options.folder.resolve())))
    if options.rows:
        for row in rows:
            sys.stdout.write(
                f"{row.group:20} {row.name:34} {row.predicted:11.2f} {row.measured:11.2f} {row.error:+7.1f} %"
                f"{' fitted' if row.fitted else ''}\n"
            )
    sys.stdout.writelines(summary(rows))


if __name__ == "__main__":
    main()
