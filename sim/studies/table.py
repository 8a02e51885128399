"""How tables and times are printed."""

from __future__ import annotations

from rich.table import Table


def table(first: str, *others: str) -> Table:
    """A table of modes, its numbers to the right."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    made.add_column(first, no_wrap=True, min_width=len("overlap-graph"))
    for name in others:
        made.add_column(name, justify="right")
    return made


def time(microseconds: float | None) -> str:
    """A time in the unit that keeps it readable: four significant digits in us, ms or s; '-' where there is none."""
    if microseconds is None:
        return "-"
    for limit, unit, factor in ((1e3, "us", 1.0), (1e6, "ms", 1e3), (float("inf"), "s", 1e6)):
        if abs(microseconds) < limit:
            value = microseconds / factor
            digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError
