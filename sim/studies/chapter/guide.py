"""The guide: the chapter's sections in order, as Markdown, with what every command prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from sim.studies.chapter.claim import Outcome
from sim.studies.chapter.pictures import PICTURES
from sim.studies.chapter.report import tally, with_errors

INTRODUCTION = """\
A textbook chapter on advanced scheduling and CUDA graphs makes claims, gives two scripts and three exercises. Here each
is a command that runs on any machine, with what it predicts for an NVIDIA H100, what was measured on one, how far off
predictions are that know what the measuring host's launches took at that moment, and a verdict that follows from these
numbers. `overlapsim chapter` computes all of it (`--profile nvidia-h200` for another card); `overlapsim chapter --write
FOLDER` wrote this page, and a test compares the two. On a GPU of your own: `overlapsim validate chapter --on cuda`."""


def guide(outcomes: Sequence[Outcome], printed: Callable[[str], str]) -> str:
    """The whole page; ``printed`` runs a command and returns what it prints."""
    return "\n".join([*_head(outcomes), *_sections(outcomes, printed)])


def _head(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "# The chapter, runnable\n"
    yield f"{INTRODUCTION}\n"
    yield f"{tally(outcomes)}.\n"
    yield "| claim | verdict | because |"
    yield "|---|---|---|"
    for outcome in outcomes:
        claim, found = outcome.claim, outcome.finding
        yield f"| [{claim.says}](#{claim.name}) | {found.verdict.value} | {found.because} |"
    yield ""


def _sections(outcomes: Sequence[Outcome], printed: Callable[[str], str]) -> Iterator[str]:
    shown: dict[str, str] = {}
    for section, members in groupby(outcomes, key=lambda outcome: outcome.claim.section):
        yield f"## {section}\n"
        for outcome in members:
            yield from _claim(outcome, printed, shown)


def _claim(outcome: Outcome, printed: Callable[[str], str], shown: dict[str, str]) -> Iterator[str]:
    """One claim; what its command prints is ``shown`` where it stands first, by the claim's name."""
    claim, found = outcome.claim, outcome.finding
    yield f'### <a id="{claim.name}"></a>{claim.says}\n'
    if claim.sums_up:
        members = " and ".join(f"[{name}](#{name})" for name in claim.sums_up)
        yield f"{members}: `{claim.command}` shows them together.\n"
        yield f"*Verdict*: **{found.verdict.value}** ({found.predicted}): {found.because}.\n"
        return
    command = outcome.command
    if command in shown:
        yield f"`{command}`, [as above](#{shown[command]}).\n"
    else:
        yield f"```console\n$ {command}\n{printed(command)}```\n"
        shown[command] = claim.name
    if claim.name in PICTURES:
        yield f"![{claim.says}]({claim.name}.png)\n"
    yield f"*Predicted*: {found.predicted}.\n"
    if found.measured:
        yield f"*Measured*: {with_errors(found)}.\n"
    elif not outcome.elsewhere:
        yield "*Not measured.*\n"
    for card, other in outcome.elsewhere.items():
        yield f"*On an {card}*: predicted with its profile, {other.predicted}. Measured: {with_errors(other)}.\n"
    yield f"*Verdict*: **{found.verdict.value}**: {found.because}.\n"
