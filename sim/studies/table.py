"""How tables and times are printed."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

NARROWEST = 80
"""Columns below which tables are not squeezed any more: the terminal wraps their lines."""
WIDEST_MODE = len("overlap-graph")


class Printer(Console):
    """Standard output as wide as the terminal; in a file or a pipe as wide as ``wide``, wherever it is read later."""

    def __init__(self, wide: int = 120) -> None:
        super().__init__(highlight=False)
        self.width = max(self.width, NARROWEST) if self.is_terminal else wide

    def on_broken_pipe(self) -> None:
        """Leave it to the caller what a reader's leaving means; rich would exit with 1: that the answer is no."""
        raise BrokenPipeError


def table(first: str, *others: str) -> Table:
    """A table of modes, its numbers to the right."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    made.add_column(first, no_wrap=True, min_width=WIDEST_MODE)
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
