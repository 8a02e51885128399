"""The claims table as ``chapter`` prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.loader import load_profile
from sim.studies.chapter.claim import Finding, Outcome, Verdict

STYLES = {Verdict.HOLDS: "green", Verdict.IN_PART: "yellow", Verdict.FAILS: "red"}


def print_outcomes(console: Console, outcomes: Sequence[Outcome]) -> None:
    """A row a claim, section by section, and how many hold."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 1, 0))
    for name, ratio in (("claim", 4), ("predicted", 5), ("measured", 4)):
        table.add_column(name, ratio=ratio)
    table.add_column("verdict", no_wrap=True)
    section = ""
    for outcome in outcomes:
        claim, found = outcome.claim, outcome.finding
        if claim.section != section:
            section = claim.section
            table.add_row(Text(section, style="bold"))
        said = Text(claim.says).append(f"\n$ {outcome.command}", style="dim")
        predicted = Text(found.predicted).append(f"\n{found.because}", style="dim")
        table.add_row(said, predicted, measured_words(outcome), Text(found.verdict.value, style=STYLES[found.verdict]))
    for profile in dict.fromkeys(outcome.profile for outcome in outcomes):
        console.print(f"predicted for and measured on one {load_profile(profile).provenance.gpu} ({profile})")
    console.print(table)
    console.print(tally(outcomes))


def measured_words(outcome: Outcome) -> str:
    """What each card measured, and how far predictions with its profile are off."""
    cards = {"": outcome.finding, **outcome.elsewhere}
    return "\n".join(f"{card}{': ' if card else ''}{with_errors(f)}" for card, f in cards.items() if f.measured) or "-"


def with_errors(found: Finding) -> str:
    """A measurement, and how far predictions of it are off."""
    if not found.errors:
        return found.measured
    mean, most = sum(found.errors) / len(found.errors), max(found.errors)
    return f"{found.measured} (predictions on that host off by {mean:.1%} in the mean, {most:.1%} at most)"


def tally(outcomes: Iterable[Outcome]) -> str:
    """How many claims hold."""
    counts = Counter(outcome.finding.verdict for outcome in outcomes)
    holds, in_part, fails = (counts[verdict] for verdict in (Verdict.HOLDS, Verdict.IN_PART, Verdict.FAILS))
    number = f"{counts.total()} claim{'s' if counts.total() > 1 else ''}"
    return f"{number}: {holds} hold{'s' if holds == 1 else ''}, {in_part} in part, {fails} not"
