"""The whole of it: faults and mutants that must be caught, and worlds that must not raise an alarm.

    python tests/mutation/run.py faults --jobs 8
    python tests/mutation/run.py mutants --count 240 --seed 7 --jobs 8
    python tests/mutation/run.py alarms --count 5000 --jobs 8
    python tests/mutation/run.py table

Prints a line each as JSON and keeps it in ``runs/mutation``; ``table`` makes the tables of ``README.md`` of them.
Mutants that no invariant kills are tried by the tests beside their module. Exit code 1 when a fault survives, fewer
than 90 % of the mutants are killed, one lives for no known reason, or an alarm is raised. Takes many minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from faults import FAULTS, attacks_on
from generate import Mutant, sample
from harness import ROOT, attempt, tested
from table import alive, write

from scenarios.loader import list_engines, load_engine, load_model, load_profile

KILLED = 0.9
WORLDS = 125
"""Worlds of one search for false alarms; each search has its own seed."""


def fault(number: int, examples: int) -> dict[str, Any]:
    """One fault, and what caught it."""
    one = FAULTS[number]
    verdict = attempt(one.module, one.source, attacks_on(one.module), examples)
    return {"number": number, "module": one.module, "what": one.what} | asdict(verdict)


def mutant(number: int, count: int, seed: int, examples: int) -> dict[str, Any]:
    """One mutant, and which invariant killed it."""
    one = sample(count, seed)[number]
    return _told(one, number) | asdict(attempt(one.module, one.source, attacks_on(one.module), examples))


def test(number: int, count: int, seed: int) -> dict[str, Any]:
    """One mutant, and which of the tests beside its module killed it."""
    one = sample(count, seed)[number]
    return _told(one, number) | asdict(tested(one.module, one.source, tests_of(one.module)))


def _told(one: Mutant, number: int) -> dict[str, Any]:
    return {"module": one.module, "line": one.line, "code": one.code, "what": one.what, "number": number}


def tests_of(module: str) -> tuple[str, ...]:
    """The tests beside a module."""
    if module == "sim.loops":
        return "tests/sim/serving/test_loop_times.py", "tests/sim/serving/test_serving_loops.py"
    return ("tests/sim/machine",) if module.startswith("sim.machine") else ("tests/sim/serving",)


def alarm(seed: int) -> dict[str, Any]:
    """A search of worlds on the project as it is: it must find nothing."""
    from sim.check.attacks import attack_again
    from sim.check.search import search

    searched = search(examples=WORLDS, seed=seed, also=attack_again)
    found = searched.found
    told = [] if found is None else [str(found.world), *map(str, found.broken.violations)]
    return {"seed": seed, "tried": searched.tried, "alarm": told}


def work(task: tuple[str, tuple[Any, ...]]) -> dict[str, Any]:
    """One task in a process of the pool."""
    name, arguments = task
    return {"fault": fault, "mutant": mutant, "test": test, "alarm": alarm}[name](*arguments)  # type: ignore[operator]


def tasks(words: argparse.Namespace) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What is to be done."""
    if words.what == "faults":
        yield from (("fault", (number, words.examples)) for number in range(len(FAULTS)))
    elif words.what == "mutants":
        count = len(sample(words.count, words.seed))
        yield from (("mutant", (number, words.count, words.seed, words.examples)) for number in range(count))
    else:
        yield from (("alarm", (words.seed + number,)) for number in range(-(-words.count // WORLDS)))


def main() -> int:
    """Do all of it, in as many processes as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("faults", "mutants", "alarms", "table"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--examples", type=int, default=200, help="of each attack, for one mutant (default 200)")
    parser.add_argument("--count", type=int, default=240, help="mutants, or worlds (default 240)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mutation", help="folder of what is kept")
    words = parser.parse_args()
    if words.what == "table":
        return write(words.out)
    load_profile("nvidia-h200")  # what all children need is loaded once
    load_model("tiny")
    for name in list_engines():
        load_engine(name)
    words.out.mkdir(parents=True, exist_ok=True)
    kept = words.out / f"{words.what}.jsonl"
    kept.unlink(missing_ok=True)
    results = _all(words, kept, tasks(words))
    if words.what == "alarms":
        return int(any(result["alarm"] for result in results))
    if words.what == "mutants":
        living = [result["number"] for result in alive(results)]
        found = _all(words, kept, (("test", (number, words.count, words.seed)) for number in living))
        results = [result for result in results if result["number"] not in living] + found
    caught = sum(result["invariant"] is not None for result in results)
    print(f"{caught} of {len(results)} caught", file=sys.stderr)  # noqa: T201
    if words.what == "mutants" and any(result["reason"] is None for result in alive(results)):
        return 1
    return int(caught < len(results) * (1.0 if words.what == "faults" else KILLED))


def _all(words: argparse.Namespace, kept: Path, todo: Iterable[tuple[str, tuple[Any, ...]]]) -> list[dict[str, Any]]:
    """Do these in several processes, and keep a line of each as it comes."""
    results = []
    with get_context("fork").Pool(words.jobs) as pool, kept.open("a") as file:
        for result in pool.imap_unordered(work, todo):
            line = json.dumps(result)
            results.append(result)
            print(line, flush=True)  # noqa: T201
            file.write(line + "\n")
            file.flush()
    return results


if __name__ == "__main__":
    raise SystemExit(main())
