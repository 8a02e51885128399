"""``overlapsim calibrate``: a profile of one's own machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_verb, file_problems, reader_may_leave
from sim.verbs.status import log

EXAMPLES = """\
examples:
  overlapsim calibrate --on cuda --out my-gpu.toml
  overlapsim run decode-llama-3.1-8b --set hardware.profile=my-gpu.toml --set engine.preset=my-gpu-lean.toml
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(verbs, "calibrate", "measure this machine and fit a profile to it (minutes)", calibrate, EXAMPLES)
    verb.add_argument("--on", choices=["cuda"], required=True, help="what to measure: an NVIDIA GPU and its host")
    verb.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        required=True,
        help="the profile's .toml; engine presets with this host's costs (FILE-lean.toml, FILE-pytorch.toml) and the"
        " raw measurements (FILE-measured/) come to lie beside it",
    )


def calibrate(arguments: argparse.Namespace) -> int:
    """Measure, fit and write."""
    from gpu.availability import require_gpu
    from scenarios.errors import ScenarioError

    out: Path = arguments.out
    if problems := file_problems("--out", out, ".toml"):
        raise ScenarioError(problems)
    require_gpu("calibrate")

    import sys

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from gpu.calibration.fit import write
    from gpu.calibration.measure_all import measure
    from gpu.calibration.measurements import load

    raw = out.with_name(f"{out.stem}-measured")
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    console, say = Console(stderr=True), log()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=1.0)

        def progress(what: str, done: float) -> None:
            bar.update(task, description=f"measuring {what}", completed=done)
            if not console.is_terminal:
                say(f"{done:.0%} done: {what}")

        failed = measure(raw, progress)
    if failed:
        print(f"overlapsim: could not be measured: {', '.join(failed)}; {raw} holds the rest", file=sys.stderr)
        return NO
    written = write(out, load(raw))
    with reader_may_leave():
        print("wrote " + ", ".join(map(str, [*written, raw])), flush=True)
        print(f"use them with --set hardware.profile={out} --set engine.preset={written[1]}", flush=True)
    return DONE
