"""``overlapsim capacity``: how much load a server takes under an SLO."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_scenario, add_verb, load, reader_may_leave
from sim.verbs.status import status

if TYPE_CHECKING:
    from scenarios.loader import LoadedScenario

EXAMPLES = """\
examples:
  overlapsim capacity decode-qwen3-0.6b --set workload.rate=10/s --slo "ttft_p99<100ms,tpot_p99<4ms"
  overlapsim capacity azure-conversation --slo "ttft_p99<1s,tpot_p90<30ms" --target-rate 200 --replications 1
  overlapsim capacity my-server.toml --slo "e2e_p90<8s" --modes serial-graph,overlap-graph --out runs/capacity
  overlapsim capacity my-server.toml --slo "tpot_p99<20ms" --presets sglang,vllm-v1 --modes overlap-graph

Bounds are METRIC_STATISTIC<TIME: ttft, tpot, itl, e2e or queue; mean, p50, p90 or p99. All must hold, and requests must
not queue up without end. Every rate serves the same requests, closer together or further apart; the search doubles or
halves until it has one rate that holds and one that fails, and bisects between them. The exit code is 1 when no mode
can keep the SLO even for a request that is served alone.
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(
        verbs, "capacity", "find the highest rate that keeps an SLO, and GPUs for a load", capacity, EXAMPLES
    )
    add_scenario(verb)
    verb.add_argument("--slo", required=True, metavar="BOUNDS", help="such as 'ttft_p99<500ms,tpot_p99<40ms'")
    verb.add_argument("--modes", metavar="MODES", help="separated by commas (default: the scenario's)")
    verb.add_argument("--presets", metavar="NAMES", help="compare engine presets, separated by commas")
    verb.add_argument("--target-rate", metavar="R", help="load to count GPUs for: requests a second, or 12000/min")
    verb.add_argument("--replications", type=int, default=3, metavar="N", help="draws at each rate (default 3)")
    verb.add_argument(
        "--precision", type=float, default=3.0, metavar="PERCENT", help="how closely to bracket the rate (default 3)"
    )
    verb.add_argument(
        "--machine", choices=("auto", "reference", "fast"), default="auto", help="which virtual machine (default auto)"
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    verb.add_argument(
        "--out", type=Path, metavar="DIR", help="also write latency against rate as capacity.png, .csv and .json"
    )


def capacity(arguments: argparse.Namespace) -> int:
    """Search every mode, print what it sustains, and write its curve."""
    from scenarios.errors import Problem, Refusal, ScenarioError
    from sim.studies.capacity.report import as_json, print_capacities, slo_words, write_capacity
    from sim.studies.capacity.slo import parse_slo
    from sim.studies.capacity.study import Capacity, CapacityStudy
    from sim.studies.files import check_folder
    from sim.studies.serving import ServingRun
    from sim.studies.table import Printer

    _check(arguments)
    target = _rate(arguments.target_rate)
    slo = parse_slo(arguments.slo)
    if arguments.out is not None:
        check_folder(arguments.out)
    servers = _servers(arguments)
    found: dict[str, Capacity] = {}
    with status(f"{arguments.scenario}: simulating") as say:
        start = None
        for name, loaded in servers.items():
            if loaded.scenario.kind != "serving":
                message = Refusal(loaded.scenario.kind, "a scenario of kind 'serving'").message
                raise ScenarioError([Problem(arguments.scenario, "kind", message)])

            def progress(what: str, name: str = name) -> None:
                say(f"{arguments.scenario}: {name}{what}")

            run = ServingRun.of(loaded, arguments.seed, arguments.machine)
            study = CapacityStudy(run, slo, arguments.replications, arguments.precision / 100, progress)
            for mode in loaded.modes:
                one = found[f"{name}{mode}"] = study.of(mode, start, curve=arguments.out is not None)
                start = one.bracket.low or start
    title = next(iter(servers.values())).scenario.title
    answer = {
        "scenario": arguments.scenario,
        "slo": slo_words(slo),
        "seed": arguments.seed,
        "replications": arguments.replications,
        "target_per_s": target,
        "modes": as_json(found, target),
    }
    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps(answer, indent=2), flush=True)
        else:
            console = Printer()
            console.print(title, style="bold")
            print_capacities(console, found, target)
    if arguments.out is not None:
        written = write_capacity(arguments.out, found, answer, title)
        if not arguments.json:
            with reader_may_leave():
                print("wrote " + ", ".join(map(str, written)), flush=True)
    return DONE if any(one.bracket.low for one in found.values()) else NO


def _servers(arguments: argparse.Namespace) -> dict[str, LoadedScenario]:
    """The scenario, or one for each preset, by what comes before a mode's name."""
    modes = [f"engine.modes={arguments.modes}"] if arguments.modes else []
    if not arguments.presets:
        return {"": _load(_with(arguments, modes))}
    presets = [name.strip() for name in arguments.presets.split(",")]
    return {f"{name} ": _load(_with(arguments, [*modes, f"engine.preset={name}"])) for name in presets}


def _load(arguments: argparse.Namespace) -> LoadedScenario:
    """The scenario; what is wrong with it goes by the option that said it."""
    from scenarios.errors import Problem, ScenarioError

    said = {"engine.modes": ("--modes", arguments.modes), "engine.preset": ("--presets", arguments.presets)}
    try:
        return load(arguments)
    except ScenarioError as error:
        problems = []
        for problem in error.problems:
            option, given = said.get(problem.path.partition("[")[0], ("", None))
            own = problem.file == "--set" and given
            problems.append(Problem(option, "", problem.message) if own else problem)
        raise ScenarioError(problems) from None


def _with(arguments: argparse.Namespace, overrides: list[str]) -> argparse.Namespace:
    return argparse.Namespace(**vars(arguments) | {"set": [*arguments.set, *overrides]})


def _rate(text: str | None) -> float | None:
    """Requests a second, of a bare number or one with a unit."""
    from scenarios.errors import Problem, ScenarioError
    from scenarios.units import parse_frequency

    if text is None:
        return None
    try:
        rate = parse_frequency(text) if "/" in text else float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e9:
        found = f"found {text!r}, expected requests a second above 0, such as '200' or '12000/min'"
        raise ScenarioError([Problem("--target-rate", "", found)])
    return rate


def _check(arguments: argparse.Namespace) -> None:
    """Refuse numbers that make no sense before anything is computed for them."""
    from scenarios.errors import Problem, ScenarioError

    problems = []
    if arguments.replications < 1:
        problems.append(Problem("--replications", "", f"found {arguments.replications}, expected at least 1"))
    if not 0.1 <= arguments.precision <= 50:
        problems.append(Problem("--precision", "", f"found {arguments.precision:g}, expected 0.1 to 50 percent"))
    if problems:
        raise ScenarioError(problems)
