"""``overlapsim run``: a scenario in all its modes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_scenario, add_verb, load, reader_may_leave, words_of
from sim.verbs.status import status

EXAMPLES = """\
examples:
  overlapsim run decode-llama-3.1-8b
  overlapsim run decode-qwen3-0.6b --set workload.batch=64 --set host.scale=0.5
  overlapsim run decode-llama-3.1-8b --model my-model/config.json --out runs/mine
  overlapsim run hundred-matmuls --set n=1024 --json
  overlapsim run azure-conversation --set engine.modes=overlap-graph --set limits.ttft=500ms --out runs/azure
  overlapsim run my-scenario.toml --expect "overlap-graph.speedup>1.3"
  overlapsim run sleep-overlap --on emulated
  overlapsim run decode-qwen3-0.6b --on cuda
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(verbs, "run", "predict a scenario in all its modes, and why it gains, or measure it", run, EXAMPLES)
    add_scenario(verb)
    verb.add_argument(
        "--on",
        choices=("sim", "emulated", "cpu", "cuda"),
        default="sim",
        help="sim predicts (the default); the others measure, the median of 5 runs: emulated, a device of threads that "
        "sleep, as long as the profile says; cpu, torch without streams and graphs; cuda, an NVIDIA GPU",
    )
    verb.add_argument(
        "--machine",
        choices=("auto", "reference", "fast"),
        default="auto",
        help="which virtual machine: the reference, the fast one, or (default) the fast one wherever it is exact",
    )
    verb.add_argument(
        "--replications",
        type=int,
        metavar="N",
        help="draws of a random workload, from --seed on, for means with intervals (default 5, of long runs 1)",
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    verb.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="also write summary.json, timeline.json (Perfetto) and timeline.png; of requests that come and go "
        "requests.csv and load.png, too, and of more than 300 only those",
    )
    verb.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="CONDITION",
        help="exit 1 unless it holds, such as 'overlap-graph.speedup>1.3'",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run a scenario in all its modes, print the answer and write its files.

    Off the simulator the answer is no, too, when the modes of a model disagree about a token that is no near tie.
    """
    from scenarios.errors import Problem, ScenarioError
    from sim.studies.expectation import Expectation
    from sim.studies.files import check_folder
    from sim.studies.report import print_results
    from sim.studies.results import run_all
    from sim.studies.table import Printer
    from sim.studies.validation.shipped import measured_scenario

    expectations = [Expectation.parse(text) for text in arguments.expect]
    if arguments.out is not None:
        check_folder(arguments.out)
    if arguments.replications is not None and (arguments.replications < 1 or arguments.on != "sim"):
        found = f"found {arguments.replications}, expected at least 1, of a simulation"
        raise ScenarioError([Problem("--replications", "", found)])
    loaded = load(arguments)
    for expectation in expectations:
        expectation.check_mode(loaded.modes)
    agree = True
    with status(f"{arguments.scenario}: simulating") as say:

        def progress(what: str) -> None:
            say(f"{arguments.scenario}: {what}")

        if arguments.on == "sim":
            results = run_all(loaded, arguments.seed, progress, arguments.machine, arguments.replications)
        else:
            from gpu.measure import measure

            results, agree = measure(loaded, arguments.on, arguments.seed, progress, words=words_of(arguments))
    last = {text.partition("=")[0].strip(): i for i, text in enumerate(arguments.set)}  # of a key given twice it counts
    results.changes = tuple(arguments.set[i] for i in sorted(last.values()))
    broken = [text for text in (e.check(results.modes) for e in expectations) if text]
    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps(results.as_json(), indent=2), flush=True)
        else:
            print_results(Printer(), results, measured_scenario(loaded))
    if arguments.out is not None:
        from sim.studies.files import write_files

        written = write_files(arguments.out, results)
        if not arguments.json:
            with reader_may_leave():
                print("wrote " + ", ".join(str(path) for path in written), flush=True)
    for text in broken:
        print(f"overlapsim: {text}", file=sys.stderr)
    return NO if broken or not agree else DONE
