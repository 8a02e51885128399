"""Tables of the suite's results."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

MARK = "# here"
"""Ends the line of a case that an explanation should name."""

OUTCOMES = {
    "captured": "captured",
    "frozen": "freezes",
    "refused": "refused",
    "raises": "raises",
    "hung": "hangs",
    "crashed": "dies",
}
LEGEND = "freezes: captured without an error, and replays are wrong; raises: fails before any capture"


def print_suite(console: Console, results: dict[str, Any]) -> None:
    """What each case is about, what is usually said, what happened, by which rule and in which line."""
    machine = results["provenance"]
    device = machine["gpu"] or machine["cpu"]
    tried = "tried" if machine["on"] == "cuda" else "recorded, nothing was captured"
    console.print(Text(f"{tried} on {device}, torch {machine['torch']}, {machine['date']}", style="dim"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("case", "usually said", "today", "rule", "line"):
        table.add_column(name, overflow="fold")
    for row in results["cases"]:
        first = next(iter(row.get("findings", ())), None)
        table.add_row(
            row["case"],
            row["claim"],
            OUTCOMES[row["verdict"]],
            first["rule"] if first else "",
            first["where"].rpartition("/")[2] if first else "",
        )
    console.print(table)
    console.print(LEGEND)
    if results["mistakes"]:
        console.print(mistakes_table(results["mistakes"]))


def mistakes_table(rows: list[dict[str, Any]]) -> Table:
    """What a user sees of each mistake, run normally, at capture and in a replay, and with launches that block."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("mistake", "run", "its user sees", "when", "line of the user's"):
        shown.add_column(name, overflow="fold")
    for row in rows:
        line = (row.get("line") or "").removesuffix(MARK).rstrip()
        cells = (row.get("what", row["mistake"]), row["how"], seen(row), row.get("when") or "", line)
        shown.add_row(*(Text(cell) for cell in cells))
    return shown


def seen(row: dict[str, Any]) -> str:
    """An error, or what was printed, or that there is nothing to see."""
    if row.get("raised"):
        return str(row["raised"]).removeprefix("AcceleratorError: CUDA error: ")
    if row["how"] == "capture":
        return "no error"
    lines = row.get("printed", "").splitlines()
    said = [f"{len(lines)} lines"] if lines else []
    bad = row.get("result") or ""
    said += [bad] if bad and not bad.startswith("0 of") else []
    return ", ".join(said) or "nothing"
