"""``overlapsim breakdown``: where a step goes, against one key of the scenario."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_scenario, add_verb, file_problems, load, reader_may_leave

if TYPE_CHECKING:
    from scenarios.loader import LoadedScenario
    from sim.studies.results import Results

EXAMPLES = """\
examples:
  overlapsim breakdown scheduling-overhead --vary workload.batch=1..256*4
  overlapsim breakdown scheduling-overhead --vary workload.batch=1,16,64 --on cuda
  overlapsim breakdown hundred-matmuls --vary n=64..4096*2
  overlapsim breakdown decode-llama-3.1-8b --vary host.scale=1,2,4 --out breakdown.png

The host's parts of a step, schedule (with receive), prepare, launch, wait and process, add up to the step; device is
what it computes meanwhile, exposed the host time that it waits through.
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(
        verbs, "breakdown", "where a step's time goes, mode by mode and against one key", breakdown, EXAMPLES
    )
    add_scenario(verb)
    verb.add_argument("--vary", metavar="KEY=VALUES", help="A,B,C or FIRST..LAST, +STEP or *FACTOR")
    verb.add_argument(
        "--on", choices=("sim", "emulated", "cpu", "cuda"), default="sim", help="predict (the default) or measure"
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    verb.add_argument("--out", type=Path, metavar="FILE", help="also draw the host's parts into this .png file")


def breakdown(arguments: argparse.Namespace) -> int:
    """Run every value in all modes and print where their time goes; NO when the tokens of modes disagree."""
    from rich.console import Console

    from scenarios.errors import Problem, ScenarioError
    from scenarios.scenario import Serving
    from sim.studies.breakdown import Breakdown, print_breakdown
    from sim.studies.results import SHORT, is_short, predict_modes
    from sim.studies.sweep.axes import Axis
    from sim.studies.table import Printer

    if problems := file_problems("--out", arguments.out, ".png"):
        raise ScenarioError(problems)
    axis = None if arguments.vary is None else Axis.parse(arguments.vary)
    agree = []

    def loaded(override: str) -> LoadedScenario:
        own = argparse.Namespace(**vars(arguments) | {"set": [*arguments.set, *([override] if override else [])]})
        return load(own)

    with Console(stderr=True).status(f"{arguments.scenario}: running") as status:

        def progress(what: str) -> None:
            status.update(f"{arguments.scenario}: {what}")

        def run(one: LoadedScenario) -> Results:
            if isinstance(one.scenario, Serving) and not is_short(one.scenario):
                found = f"found {one.scenario.workload.requests or 'a whole trace'}"
                message = f"{found}, expected at most {SHORT} for a breakdown, which needs every span"
                raise ScenarioError([Problem(arguments.scenario, "workload.requests", message)])
            if arguments.on == "sim":
                return predict_modes(one, arguments.seed, progress)
            from gpu.measure import measure

            results, right = measure(one, arguments.on, arguments.seed, progress)
            agree.append(right)
            return results

        result = Breakdown.of(loaded, axis, run)
    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps(result.as_json(), indent=2), flush=True)
        else:
            print_breakdown(Printer(150), result)
    if arguments.out is not None:
        from sim.studies.bars import draw_breakdown

        draw_breakdown(arguments.out, result)
        if not arguments.json:
            with reader_may_leave():
                print(f"wrote {arguments.out}", flush=True)
    return DONE if all(agree) else NO
