"""Rows of predictions beside measurements: printed in full (``pytest -s``), and those that miss a bound."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from statistics import median

from sim.studies.micro.tables import Row, Tables

RESULTS = Path(__file__).parents[3] / "gpu/results/nvidia-h200/2026-11-23"


@cache
def h200() -> Tables:
    """The committed measurements and the shipped profile."""
    return Tables.load(RESULTS)


def shown(rows: Iterable[Row]) -> list[Row]:
    """The rows, printed."""
    kept = list(rows)
    print(f"\n{kept[0].group}: predicted, measured (us), error")  # noqa: T201
    for row in kept:
        kind = "fitted" if row.fitted else "held out"
        print(f"{row.name:34} {row.predicted:10.2f} {row.measured:10.2f} {row.error:+6.1f} % {kind}")  # noqa: T201
    return kept


def beyond(rows: Iterable[Row], percent: float) -> dict[str, str]:
    """Errors larger than that, by the row's name."""
    return {row.name: f"{row.error:+.1f} %" for row in rows if abs(row.error) > percent}


def median_error(rows: Iterable[Row]) -> float:
    """Median of the absolute errors in percent."""
    return median(abs(row.error) for row in rows)
