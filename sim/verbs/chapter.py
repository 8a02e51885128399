"""``overlapsim chapter``: every claim of the textbook chapter, predicted and measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sim.verbs import DONE
from sim.verbs.parsing import Verbs, add_verb, reader_may_leave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sim.studies.chapter.claim import Outcome
    from sim.studies.chapter.lab import Lab

EXAMPLES = """\
examples:
  overlapsim chapter
  overlapsim chapter small-batches hierarchy
  overlapsim chapter --json
  overlapsim chapter --write runs/guide

Each claim has a command that shows more of it, what is predicted for today's profile, what the shipped results hold as
measured, and a verdict that follows from the numbers.
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(
        verbs, "chapter", "check a textbook chapter on graphs and overlap, claim by claim", chapter, EXAMPLES
    )
    verb.add_argument("claims", nargs="*", metavar="CLAIM", help="only these (default: all; --names lists them)")
    verb.add_argument(
        "--profile",
        metavar="NAME",
        help="the card that is predicted (default nvidia-h100, which measured the chapter); others are shown beside",
    )
    verb.add_argument("--names", action="store_true", help="list the claims' names and leave")
    verb.add_argument("--shown", action="store_true", help="print what some claims have to show in lines")
    verb.add_argument("--write", type=Path, metavar="FOLDER", help="write the guide and its pictures into a folder")
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def chapter(arguments: argparse.Namespace) -> int:
    """Look into the claims and print what became of them."""
    from rich.console import Console

    from scenarios.errors import Problem, ScenarioError, nearest
    from sim.studies.chapter.claims import CLAIMS
    from sim.studies.chapter.outcomes import labs_of, outcomes_of
    from sim.studies.chapter.report import print_outcomes
    from sim.studies.table import Printer

    if arguments.write is not None and not arguments.write.is_dir():
        raise ScenarioError([Problem("--write", "", f"found {str(arguments.write)!r}, expected a folder that exists")])
    names = [claim.name for claim in CLAIMS]
    strangers = [name for name in arguments.claims if name not in names]
    if strangers:
        problems = [Problem(name, "", f"no such claim, expected one of {nearest(name, names)}") for name in strangers]
        raise ScenarioError(problems)
    if arguments.names:
        with reader_may_leave():
            print("\n".join(f"{claim.name}  {claim.says}" for claim in CLAIMS))
        return DONE
    with Console(stderr=True).status("chapter") as status:
        labs = labs_of(arguments.profile, lambda what: status.update(f"chapter: {what}"))
        wanted = [claim for claim in CLAIMS if not arguments.claims or claim.name in arguments.claims]
        outcomes = outcomes_of(wanted, labs)
        if arguments.write is not None:
            _write(arguments.write, labs[0], outcomes)
    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps({"claims": [outcome.as_json() for outcome in outcomes]}, indent=2), flush=True)
        else:
            print_outcomes(Printer(), outcomes)
            if arguments.shown:
                print("\n".join(line for outcome in outcomes for line in outcome.finding.shown))
    return DONE


def printed(command: str) -> str:
    """What a command of this program prints, without trailing blanks."""
    import contextlib
    import io
    import shlex

    from sim.cli import main

    words = shlex.split(command)[1:]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        main(words)
    return "".join(f"{line.rstrip()}\n" for line in output.getvalue().splitlines())


def _write(folder: Path, lab: Lab, outcomes: Sequence[Outcome]) -> None:
    from functools import cache

    from sim.studies.chapter.guide import guide
    from sim.studies.chapter.pictures import draw_all
    from sim.timeline.chrome import replacing

    def told(command: str) -> str:
        lab.progress(command)
        return printed(command)

    draw_all(lab, folder)
    page = guide(outcomes, cache(told))
    with replacing(folder / "README.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
