"""``overlapsim buckets``: the batch sizes to capture graphs for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sim.verbs import DONE
from sim.verbs.parsing import Verbs, add_scenario, add_verb, load, reader_may_leave

if TYPE_CHECKING:
    from scenarios.loader import LoadedScenario
    from sim.studies.buckets.study import BucketStudy, Judged, Limit
    from sim.studies.serving import ServingRun

EXAMPLES = """\
examples:
  overlapsim buckets decode-llama-3.1-8b --set workload.rate=20/s --set workload.requests=200 --graphs 8
  overlapsim buckets my-server.toml --memory 64MiB --judge workload.trace=tomorrow.csv
  overlapsim buckets my-server.toml --memory 2GiB --graph-memory 14MiB --compare

The workload is simulated with the engine's own list; its decode steps are counted by their rows, and the list with the
least total time of them within the limits is found by dynamic programming. Then lists are judged by simulating the
workload again, with the changes of --judge: choose with one part of a trace, judge with another.
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(verbs, "buckets", "choose the batch sizes to capture graphs for", buckets, EXAMPLES)
    add_scenario(verb)
    verb.add_argument("--graphs", type=int, metavar="N", help="at most so many graphs (default: as many as the preset)")
    verb.add_argument("--memory", metavar="SIZE", help="at most so much device memory for graphs, such as 2GiB")
    verb.add_argument(
        "--graph-memory",
        metavar="SIZE",
        help="what one captured graph of your engine holds (default: measured on an H100, by its kernels)",
    )
    verb.add_argument(
        "--mode", choices=("serial-graph", "overlap-graph"), default="overlap-graph", help="default overlap-graph"
    )
    verb.add_argument(
        "--judge", action="append", default=[], metavar="KEY=VALUE", help="override a field of what lists are judged by"
    )
    verb.add_argument(
        "--compare",
        action="store_true",
        help="judge lists of known engines, too, each beside the best list of as many graphs and as much memory",
    )
    verb.add_argument(
        "--machine", choices=("auto", "reference", "fast"), default="auto", help="which virtual machine (default auto)"
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def buckets(arguments: argparse.Namespace) -> int:
    """Choose a list, judge it and print it."""
    from rich.console import Console

    from sim.studies.buckets.report import as_setting, print_judged
    from sim.studies.buckets.study import BucketStudy
    from sim.studies.serving import ServingRun
    from sim.studies.table import Printer

    limit = _limit(arguments)
    loaded = _serving(arguments, [])
    other = ServingRun.of(_serving(arguments, arguments.judge), arguments.seed, arguments.machine)
    with Console(stderr=True).status(f"{arguments.scenario}: counting steps by rows") as status:
        run = ServingRun.of(loaded, arguments.seed, arguments.machine)
        study = BucketStudy(run, arguments.mode, _bytes("--graph-memory", arguments.graph_memory))
        status.update(f"{arguments.scenario}: choosing")
        if limit.graphs is None and limit.memory is None:
            limit = type(limit)(len(run.buckets))
        chosen = study.choose(limit).buckets
        judged = [study.judge("the engine's", run.buckets, other), study.judge("chosen", chosen, other)]
        if arguments.compare:
            judged += _compared(study, other, status.update)
    with reader_may_leave():
        if arguments.json:
            import json

            steps = {str(rows): count for rows, count in sorted(study.demand.steps.items())}
            found = {"mode": arguments.mode, "steps_by_rows": steps, "context": round(study.demand.context, 1)}
            print(json.dumps(found | {"chosen": list(chosen), "judged": [j.as_json() for j in judged]}, indent=2))
        else:
            console = Printer()
            print_judged(console, judged, judged[0])
            console.print(f"--set '{as_setting(chosen)}'", soft_wrap=True)
    return DONE


def _compared(study: BucketStudy, other: ServingRun, progress: object) -> list[Judged]:
    """Each published list and, as large in number and memory, the best one."""
    from sim.studies.buckets.published import PUBLISHED
    from sim.studies.buckets.study import Limit

    found = []
    for name, sizes in PUBLISHED.items():
        if callable(progress):
            progress(f"judging: {name}")
        same = study.choose(Limit(len(sizes), study.memory.of_list(sizes))).buckets
        found += [study.judge(name, sizes, other), study.judge("  chosen, as large", same, other)]
    return found


def _serving(arguments: argparse.Namespace, more: list[str]) -> LoadedScenario:
    from scenarios.errors import Problem, ScenarioError

    loaded = load(argparse.Namespace(**vars(arguments) | {"set": [*arguments.set, *more]}))
    if loaded.scenario.kind != "serving":
        raise ScenarioError([Problem(loaded.source, "kind", "found 'program', expected a serving scenario")])
    return loaded


def _limit(arguments: argparse.Namespace) -> Limit:
    from scenarios.errors import Problem, ScenarioError
    from sim.studies.buckets.study import Limit

    if arguments.graphs is not None and arguments.graphs < 1:
        raise ScenarioError([Problem("--graphs", "", f"found {arguments.graphs}, expected an integer of at least 1")])
    return Limit(arguments.graphs, _bytes("--memory", arguments.memory))


def _bytes(option: str, text: str | None) -> int | None:
    from scenarios.errors import Problem, Refusal, ScenarioError
    from scenarios.units import parse_bytes

    if text is None:
        return None
    try:
        return parse_bytes(text)
    except Refusal as error:
        raise ScenarioError([Problem(option, "", str(error))]) from None
