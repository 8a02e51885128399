"""``overlapsim capture``: whether a CUDA graph can hold a function, and whether its replays are right."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_verb, file_problems, reader_may_leave

if TYPE_CHECKING:
    from gpu.capture.report import Report
    from sim.studies.table import Printer

EXAMPLES = """\
examples:
  overlapsim capture my_model:step --on cuda
  overlapsim capture model.py:forward --input "float32[8,1024]" --input "int64[8]<32000"
  overlapsim capture train.py:make_step --build --inputs batch
  overlapsim capture --suite                    # dropout, optimizers, streams, ...: what an H100 gave
  overlapsim capture --suite --on cuda --out capture.json

FUNCTION is called with what the module's function inputs(seed, device) returns; other seeds must give other values of
the same shapes. With --build, FUNCTION(device) is called first and returns the function to capture.

On cuda the function is captured and replayed with other inputs, and the results are compared with its own. On cpu
nothing is captured: a recording of its operations is replayed instead, which shows what would freeze, and what CUDA
would refuse is told from the operations. Streams, copies and what else needs a GPU is judged on cuda alone.

exit codes: 0 it can be captured and replays are right, 1 it cannot or they are not, 2 bad input (no GPU, no torch)
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(
        verbs, "capture", "whether a graph can hold your function, or which line forbids it", capture, EXAMPLES
    )
    verb.add_argument("target", nargs="?", metavar="MODULE:FUNCTION", help="a module or .py file, and a function in it")
    verb.add_argument("--on", choices=("cpu", "cuda"), help="cuda: try it; cpu (the default): record it")
    verb.add_argument("--suite", action="store_true", help="what an H100 gave for all that is said to be forbidden")
    verb.add_argument("--out", type=Path, metavar="FILE", help="with --suite --on: also write the results as JSON")
    inputs = verb.add_mutually_exclusive_group()
    inputs.add_argument(
        "--input", action="append", default=[], metavar="TYPE[SIZES]", help="an argument, such as float32[8,1024]"
    )
    inputs.add_argument("--inputs", metavar="NAME", help="the module's function that makes arguments (default: inputs)")
    verb.add_argument("--build", action="store_true", help="FUNCTION(device) makes the function to capture")
    verb.add_argument("--seed", type=int, default=0, help="seed of the inputs and of torch (default 0)")
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the text")


def capture(arguments: argparse.Namespace) -> int:
    """Try the function, print the verdict and its reasons."""
    from rich.console import Console

    from gpu.availability import require_gpu, require_torch
    from scenarios.errors import Problem, ScenarioError

    if (arguments.target is None) != arguments.suite:
        raise ScenarioError([Problem("capture", "", "expected either MODULE:FUNCTION or --suite")])
    if arguments.out is not None and not (arguments.suite and arguments.on):
        raise ScenarioError([Problem("--out", "", "expected beside --suite and --on, whose results it takes")])
    if problems := file_problems("--out", arguments.out):
        raise ScenarioError(problems)
    on = arguments.on or "cpu"
    if on == "cuda":
        require_gpu("--on cuda")
    if not arguments.suite or arguments.on:
        require_torch("capture")
    if arguments.suite:
        return suite(arguments)
    from gpu.capture.attempt import attempt
    from gpu.capture.target import find_target

    with Console(stderr=True).status(f"{arguments.target}: importing") as status:
        target = find_target(arguments.target, on, arguments.input, arguments.inputs, build=arguments.build)
        status.update(f"{arguments.target}: trying")
        report = attempt(target, on, arguments.seed)
    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps(report.as_json(), indent=2), flush=True)
        else:
            from sim.studies.table import Printer

            print_report(Printer(), report)
    return DONE if report.verdict == "captured" else NO


def suite(arguments: argparse.Namespace) -> int:
    """Show the shipped results of the suite, or run it here."""
    import os

    from rich.console import Console

    from gpu.capture.shipped import shipped_results
    from gpu.capture.tables import print_suite
    from sim.studies.table import Printer

    if arguments.on is None:
        results = shipped_results()
    else:
        from gpu.capture.results import run_suite

        with Console(stderr=True).status("suite") as status:
            jobs = max(1, (os.cpu_count() or 2) // 2)
            results = run_suite(arguments.on, arguments.out, jobs, lambda what: status.update(f"suite: {what}"))
    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps(results, indent=2), flush=True)
        else:
            print_suite(Printer(), results)
    return DONE


def print_report(console: Printer, report: Report) -> None:
    """The verdict, and under it a paragraph a finding."""
    from rich.text import Text

    from gpu.capture.rules import RULES

    console.print(Text(report.summary(), style="bold"))
    for finding in report.findings:
        console.print(Text(f"{finding.where}: {finding.effect}: {finding.found}", style="yellow"))
        if finding.place is not None and finding.place.text:
            console.print(Text(f"    {finding.place.text}"))
        console.print(Text(f"  why: {RULES[finding.rule].why}"))
        console.print(Text(f"  do: {RULES[finding.rule].advice}"))
    if report.error is not None:
        console.print(Text(report.error))
