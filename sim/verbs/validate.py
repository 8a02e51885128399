"""``overlapsim validate``: predictions beside measurements."""

from __future__ import annotations

import argparse
import shlex
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_verb, reader_may_leave
from sim.verbs.status import log

if TYPE_CHECKING:
    from scenarios.suite import Suite
    from sim.studies.validation.results_file import ResultsFile
    from sim.studies.validation.summary import Summary
    from sim.timeline.spans import Timeline

Pairs = dict[str, "tuple[Timeline, Timeline]"]
FEWEST = 5
SAME_IN_A_RESUMED_RUN = ("suite", "on", "gpu", "cpu", "profile", "seed", "repeats")
EXAMPLES = """\
examples:
  overlapsim validate h200                              what is shipped, without a GPU
  overlapsim validate h200 --on cuda --out runs/h200    measure all of it; --resume goes on after an interruption
  overlapsim validate decode-qwen3-0.6b --set workload.batch=64 --on cuda
  overlapsim validate laptop --on emulated
  overlapsim validate h200 --from runs/h200/results.json --json
  overlapsim validate h200 --on cuda --max-error 5%
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(
        verbs, "validate", "measure a suite or a scenario on real hardware, beside its prediction", validate, EXAMPLES
    )
    verb.add_argument("suite", help="a shipped suite or scenario (see 'overlapsim list') or a path to a .toml file")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a field of every entry")
    verb.add_argument("--seed", type=int, default=0, help="seed of everything drawn at random (default 0)")
    verb.add_argument("--on", choices=("cuda", "cpu", "emulated"), help="where to measure")
    verb.add_argument(
        "--repeats",
        type=int,
        default=FEWEST,
        help=f"measured runs of each mode after one to warm up (default {FEWEST})",
    )
    verb.add_argument(
        "--from", dest="file", type=Path, metavar="FILE", help="show these results; without --on, the shipped ones"
    )
    verb.add_argument(
        "--predict-again", action="store_true", help="put what is predicted today beside the measurements of a file"
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    verb.add_argument(
        "--out", type=Path, metavar="DIR", help="also write results.json (as it grows), scatter.png and overlay.png"
    )
    verb.add_argument("--resume", action="store_true", help="keep the finished configurations in DIR/results.json")
    verb.add_argument(
        "--max-error",
        metavar="SHARE",
        help="exit 1 if the mean error of any group exceeds it, such as 5%% (beyond half the noise)",
    )


def validate(arguments: argparse.Namespace) -> int:
    """Measure or read, print the answer and write its files."""
    from scenarios.suite import load_suite
    from sim.studies.files import check_folder
    from sim.studies.validation.summary import Summary

    limit = _share(arguments.max_error)
    _check(arguments)
    if arguments.out is not None:
        check_folder(arguments.out)
    suite = load_suite(arguments.suite, arguments.set)
    results, pairs = _measure(arguments, suite) if arguments.on else (_read(arguments, suite), {})
    summary = Summary.of(suite.title, results)
    _print(arguments, summary)
    if arguments.out is not None:
        _write(arguments, summary, pairs)
    broken = [] if limit is None else summary.exceeding(limit)
    for text in broken:
        print(f"overlapsim: {text}", file=sys.stderr)
    return NO if broken else DONE


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if share < 0 or not text.endswith("%"):
        raise _refusal("--max-error", f"found {text!r}, expected a percentage such as 5%")
    return share


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    if arguments.on and arguments.file:
        raise _refusal("--from", "no such option beside --on")
    if arguments.repeats < FEWEST:
        raise _refusal("--repeats", f"found {arguments.repeats}, expected at least {FEWEST}: noise is their spread")
    if arguments.resume and not (arguments.on and arguments.out):
        raise _refusal("--resume", "expected --on and --out beside it: it goes on with the results in that folder")
    if arguments.predict_again and arguments.on:
        raise _refusal("--predict-again", "no such option beside --on, which always predicts")


def _refusal(option: str, message: str) -> Exception:
    from scenarios.errors import Problem, ScenarioError

    return ScenarioError([Problem(option, "", message)])


def _read(arguments: argparse.Namespace, suite: Suite) -> ResultsFile:
    """The results of a file, or the shipped ones."""
    from scenarios.shelf import PROFILES
    from sim.studies.validation.cases import predicted_again
    from sim.studies.validation.results_file import read_results
    from sim.studies.validation.shipped import results_path

    profile = suite.configurations[0].loaded.profile.name
    path = arguments.file or results_path(profile, suite.name)
    if path is None:
        others = [f"--set hardware.profile={name}" for name in PROFILES.names() if results_path(name, suite.name)]
        ways = ", ".join([*others, "--on cuda, cpu or emulated", "or --from FILE"])
        message = f"no results are shipped for it on {profile!r}, expected {ways}"
        raise _refusal(arguments.suite, message)
    results = read_results(path)
    if not results.cases:
        raise _refusal(str(path), "holds no case")
    if (of := results.provenance.get("suite", suite.name)) != suite.name:
        raise _refusal(str(path), f"holds results of {of!r}, expected of {suite.name!r}")
    return predicted_again(results) if arguments.predict_again else results


def _measure(arguments: argparse.Namespace, suite: Suite) -> tuple[ResultsFile, Pairs]:
    """Measure what is not done yet; where the worst and a typical case part goes with the results."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gpu.validation.backend import backend_of
    from gpu.validation.partings import pairs_of, with_partings
    from gpu.validation.provenance import machine_of
    from gpu.validation.runner import measure_suite
    from sim.studies.validation.cases import is_finished
    from sim.studies.validation.results_file import write_results
    from sim.studies.validation.scores import typical_case
    from sim.studies.validation.summary import Summary

    backend = backend_of(arguments.on)
    provenance = _provenance(arguments, suite, machine_of(arguments.on))
    path = None if arguments.out is None else arguments.out / "results.json"
    done = _done(path, provenance) if arguments.resume and path is not None and path.exists() else None
    finished = done.cases if done else ()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    runs = [len(c.modes) * (1 + arguments.repeats) for c in suite.configurations if not is_finished(c, finished)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    done_runs, say = count(1), log()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(suite.name, total=sum(runs))

        def progress(what: str) -> None:
            bar.update(task, advance=1, description=what)
            number = next(done_runs)
            if not console.is_terminal:
                say(f"{number} of {sum(runs)} runs done: {what}")

        outcome = measure_suite(
            suite,
            backend,
            provenance,
            repeats=arguments.repeats,
            seed=arguments.seed,
            path=path,
            done=done,
            progress=progress,
        )

    def tell(what: str) -> None:
        print(f"overlapsim: {what}", file=sys.stderr, flush=True)

    summary = Summary.of(suite.title, outcome.results)
    shown = [*summary.worst, typical_case(outcome.results.cases, summary.predictor)]
    pairs = pairs_of(suite, outcome, shown, backend, arguments.seed, tell)
    results = with_partings(outcome.results, pairs)
    if path is not None:
        write_results(path, results)
    first, last = shown[0].name, shown[-1].name
    return results, {name: pairs[name] for name in dict.fromkeys((first, last)) if name in pairs}


def _provenance(arguments: argparse.Namespace, suite: Suite, machine: dict[str, Any]) -> dict[str, Any]:
    """What the results file says of itself; warns where the profile is of another machine."""
    from gpu.own_profile import own_profile

    profiles = {c.loaded.profile.name: c.loaded.profile.provenance.gpu for c in suite.configurations}
    measured = machine["gpu"] or machine["cpu"]
    own = own_profile(machine["gpu"])
    hint = "" if own is None else f"; of this GPU there is --set hardware.profile={own}"
    for name, gpu in profiles.items():
        if arguments.on != "emulated" and gpu != measured:
            print(f"overlapsim: predicted with profile {name} of {gpu}, measured on {measured}{hint}", file=sys.stderr)
    words = [word for text in arguments.set for word in ("--set", text)]
    command = ["overlapsim", "validate", arguments.suite, *words, "--on", arguments.on]
    return {
        **machine,
        "suite": suite.name,
        "profile": ", ".join(profiles),
        "seed": arguments.seed,
        "repeats": arguments.repeats,
        "command": shlex.join(command),
    }


def _done(path: Path, provenance: dict[str, Any]) -> ResultsFile:
    """The results of an interrupted run; raises ``ScenarioError`` for those of another one."""
    from scenarios.errors import Problem, ScenarioError
    from sim.studies.validation.results_file import read_results

    found = read_results(path)
    problems = [
        Problem(str(path), f"provenance.{key}", f"found {found.provenance.get(key)!r}, expected {provenance[key]!r}")
        for key in SAME_IN_A_RESUMED_RUN
        if found.provenance.get(key) != provenance[key]
    ]
    if problems:
        raise ScenarioError(problems)
    return found


def _print(arguments: argparse.Namespace, summary: Summary) -> None:
    from sim.studies.table import Printer
    from sim.studies.validation.report import print_summary

    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps(summary.as_json(), indent=2), flush=True)
        else:
            print_summary(Printer(), summary)


def _write(arguments: argparse.Namespace, summary: Summary, pairs: Pairs) -> None:
    """The results file, unless measuring has written it, and the pictures."""
    from sim.studies.validation.pictures import draw_overlay, draw_scatter
    from sim.studies.validation.results_file import write_results

    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "results.json", folder / "scatter.png"]
    write_results(written[0], summary.results)
    draw_scatter(written[1], summary.results.cases, summary.predictor, summary.title)
    if pairs:
        written.append(folder / "overlay.png")
        draw_overlay(written[-1], pairs, summary.title)
    if not arguments.json:
        with reader_may_leave():
            print("wrote " + ", ".join(str(path) for path in written), flush=True)
