"""``overlapsim sweep``: one scenario at many points."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_scenario, add_verb, file_problems, load

if TYPE_CHECKING:
    from sim.studies.sweep.workers import Workers

EXAMPLES = """\
examples:
  overlapsim sweep decode-qwen3-0.6b --vary workload.batch=1..256*2 --vary host.scale=0.25,0.5,1,2
  overlapsim sweep decode-llama-3.1-8b --vary workload.context=512..8192+512 --jobs 4 --out sweep.parquet --resume
  overlapsim sweep open-qwen3-0.6b --vary workload.rate=10/s,20/s,40/s --seeds 8 --dask tcp://10.0.0.1:8786 --json

A range is FIRST..LAST in steps of one, FIRST..LAST+STEP or FIRST..LAST*FACTOR. --out keeps one row a point in
FILE.parquet and draws FILE.png if two keys vary. Rows are kept as they come: after an interruption --resume goes on
where it stopped. A sample of the points, 20 at least, is run again on the reference machine; should one differ, the
exit code is 1 and a scenario file that shows it is written. Closed batches that differ in workload.context, host.scale,
host.extra, kernels.scale or seed alone are simulated side by side, on NumPy or, with --device, on PyTorch.
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(verbs, "sweep", "predict a scenario at many points, here or on a cluster", sweep, EXAMPLES)
    add_scenario(verb)
    verb.add_argument(
        "--vary", action="append", required=True, metavar="KEY=VALUES", help="a key and its values, A,B,C or a range"
    )
    verb.add_argument("--out", type=Path, metavar="FILE", help="a .parquet file for the rows")
    verb.add_argument("--json", action="store_true", help="print one object, rows included, instead of lines")
    verb.add_argument("--sample", choices=("grid", "random", "lhs"), default="grid", help="which points (default grid)")
    verb.add_argument("--points", type=int, default=100, metavar="N", help="how many, unless grid (default 100)")
    verb.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="seeds at each point, from --seed on (default 1)"
    )
    where = verb.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=1, metavar="N", help="processes here (default 1, -1: one a core)")
    where.add_argument("--dask", metavar="ADDRESS", help="run on the Dask cluster with this scheduler")
    where.add_argument("--ray", action="store_true", help="run on the Ray cluster this machine belongs to")
    verb.add_argument("--device", choices=("cpu", "cuda"), help="points side by side as PyTorch tensors there")
    verb.add_argument("--resume", action="store_true", help="keep the rows that FILE already has")


def sweep(arguments: argparse.Namespace) -> int:
    """Evaluate all points, check a sample of them, and write rows and picture."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from scenarios.errors import Problem, ScenarioError
    from sim.studies.sweep.axes import Axis, points_of
    from sim.studies.sweep.evaluate import Question
    from sim.studies.sweep.report import SweepReport
    from sim.studies.sweep.run import LEAST_TRUST, run_points, trust
    from sim.studies.sweep.store import Store

    axes = [Axis.parse(text) for text in arguments.vary]
    _check(arguments, [axis.key for axis in axes])
    loaded = load(arguments)
    question = Question(
        arguments.scenario, tuple(arguments.set), arguments.model, loaded.digest, arrays=_arrays(arguments.device)
    )
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    points = points_of(axes, seeds, arguments.sample, arguments.points)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        _workers(arguments) as workers,
        Store(arguments.out, resume=arguments.resume) as store,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        known = sum(point.digest(question.digest) in store.rows for point in points)
        bar = progress.add_task("points", total=len(points), completed=known)
        told = partial(progress.advance, bar)
        run_points(question, points, store, workers=workers, told=told)
        check = progress.add_task("checking with the reference", total=min(LEAST_TRUST, len(points)))
        told = partial(progress.advance, check)
        unequal = trust(question, points, store, arguments.seed, workers=workers, told=told)
    rows = [store.rows[point.digest(question.digest)] for point in points]
    failed = [row for row in rows if row["error"] is not None]
    if len(failed) == len(rows):
        raise ScenarioError([Problem(arguments.scenario, "", f"no point can be run; the first: {failed[0]['error']}")])
    files = [] if arguments.out is None else [arguments.out]
    varied = [axis for axis in axes if len(axis.values) > 1]
    if files and len(varied) == 2 and len(loaded.modes) > 1:
        from sim.studies.sweep.picture import draw_map

        across, up = varied
        files.append(arguments.out.with_suffix(".png"))
        draw_map(files[-1], rows, across, up, loaded.modes, loaded.scenario.title)
    report = SweepReport(rows, axes, loaded.modes, known, files)
    print(json.dumps(report.as_json(), indent=1) if arguments.json else "\n".join(report.lines()))
    if unequal is not None:
        _reproduce(arguments, points, unequal["point"], question.digest)
        return NO
    return DONE


def _arrays(device: str | None) -> Any:
    """What computes with columns of points."""
    from sim.studies.replicas import Arrays

    if device is None:
        return Arrays()
    from gpu.availability import require_torch

    require_torch("--device")
    from gpu.columns import arrays_on

    return arrays_on(device)


def _reproduce(arguments: argparse.Namespace, points: list[Any], digest: str, base: str) -> None:
    from scenarios.loader import load_scenario
    from sim.studies.sweep.reproduce import write_scenario

    point = next(p for p in points if p.digest(base) == digest)
    loaded = load_scenario(arguments.scenario, (*arguments.set, *point.overrides), arguments.model)
    path = (arguments.out or Path("sweep")).with_suffix(".unequal.toml")
    command = f"overlapsim run {path} --seed {point.seed} --machine fast, and again with --machine reference"
    write_scenario(path, loaded, f"The two machines differ: {command}.")
    print(f"overlapsim: the machines differ at {', '.join(point.overrides)}: see {path}", file=sys.stderr)


def _check(arguments: argparse.Namespace, keys: list[str]) -> None:
    """Refuse what cannot be done before anything is computed for it."""
    from scenarios.errors import Problem, ScenarioError

    out: Path | None = arguments.out
    problems = file_problems("--out", out, ".parquet")
    if out is None and arguments.resume:
        problems.append(Problem("--resume", "", "there is no --out to go on with"))
    needed = [] if out is None else ["duckdb"]
    needed += ["distributed"] if arguments.dask else ["ray"] if arguments.ray else []
    needed += ["joblib"] if arguments.jobs != 1 else []
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        extra = "dask" if arguments.dask else "ray" if arguments.ray else "sweep"
        problems.append(Problem("sweep", "", f"needs {', '.join(missing)}: pip install 'overlapsim[{extra}]'"))
    twice = [key for key, count in Counter(keys).items() if count > 1]
    problems += [Problem("--vary", key, "found twice, expected all its values in one list") for key in twice]
    counts = {option: getattr(arguments, option) for option in ("points", "seeds")}
    problems += [Problem(f"--{o}", "", f"found {n}, expected at least 1") for o, n in counts.items() if n < 1]
    if arguments.jobs == 0:
        problems.append(Problem("--jobs", "", "found 0, expected at least 1, or -1 for one a core"))
    if problems:
        raise ScenarioError(problems)


def _workers(arguments: argparse.Namespace) -> Workers:
    """Those that the options ask for."""
    from sim.studies.sweep.workers import Cores, Dask, Ray, ThisProcess

    if arguments.dask:
        return Dask(arguments.dask)
    if arguments.ray:
        return Ray()
    return ThisProcess() if arguments.jobs == 1 else Cores(arguments.jobs)
