"""``overlapsim doctor``: how far predictions can be trusted on this machine today."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_verb, reader_may_leave

if TYPE_CHECKING:
    from rich.console import Console

    from gpu.doctor.report import Report

DEFAULT = "nvidia-h200"
"""Where no shipped profile is of the GPU at hand, and where none is looked at: the one that scenarios default to."""
EXAMPLES = """\
examples:
  overlapsim doctor --on cuda
  overlapsim doctor --on cuda --profile my-gpu.toml --json
  overlapsim doctor --on cpu          # the host alone, without a GPU and without torch

exit codes: 0 predictions can be trusted here, 1 they cannot, 2 bad input (no GPU, no torch)
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(verbs, "doctor", "half a minute of checks: may predictions be trusted here?", doctor, EXAMPLES)
    verb.add_argument("--on", choices=("cuda", "cpu"), required=True, help="what to look at")
    verb.add_argument(
        "--profile",
        metavar="NAME",
        help="the profile to compare with (default: the shipped one of this GPU; nvidia-h200 where there is none)",
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def doctor(arguments: argparse.Namespace) -> int:
    """Measure, print a verdict a line and how far to trust predictions."""
    from rich.console import Console

    from gpu.availability import gpu_name
    from gpu.doctor.host import host_lines
    from gpu.doctor.report import Report
    from gpu.own_profile import own_profile
    from scenarios.loader import load_profile

    profile = None if arguments.profile is None else load_profile(arguments.profile)
    gpu = gpu_name("--on cuda") if arguments.on == "cuda" else None
    if profile is None:
        profile = load_profile(own_profile(gpu) or DEFAULT)
    report = Report(arguments.on, profile.name)
    with Console(stderr=True).status("doctor") as status:

        def tell(what: str) -> None:
            status.update(f"doctor: {what}")

        if arguments.on == "cuda":
            from gpu.doctor.cuda import cuda_lines

            report.lines += cuda_lines(profile, tell)
        report.lines += host_lines(profile, tell, alone=arguments.on == "cpu")
    for line in report.lines:
        if line.what == "GPU" and not line.ok:
            print(f"overlapsim: this is a {line.found}, the profile is of a {line.expected}", file=sys.stderr)
    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps(report.as_json(), indent=2), flush=True)
        else:
            from sim.studies.table import Printer

            print_report(Printer(), report)
    return DONE if report.trustworthy else NO


def print_report(console: Console, report: Report) -> None:
    """The table of all lines, and under it how far to trust predictions and by what rule."""
    from rich.table import Table
    from rich.text import Text

    from gpu.doctor.report import RULE

    console.print(Text(f"doctor --on {report.on}, against {report.profile}", style="bold"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("what", "found", "expected", "verdict"):
        table.add_column(name, justify="left" if name in ("what", "verdict") else "right", overflow="fold")
    for line in report.lines:
        found, expected = (shown(value, line.unit) for value in (line.found, line.expected))
        table.add_row(line.what, found, f"at most {expected}" if line.limit else expected, line.verdict)
    console.print(table)
    console.print(Text(report.summary(), style="bold"))
    console.print(Text(RULE + "."))


def shown(value: float | str | None, unit: str) -> str:
    """A value with its unit; a share without one in percent."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.4g} {unit}" if unit else f"{value:.1%}"
