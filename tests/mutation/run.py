"""The whole of it: faults and mutants that must be caught, and worlds that must not raise an alarm.

    python tests/mutation/run.py faults --jobs 8
    python tests/mutation/run.py mutants --count 220 --seed 7 --jobs 8 --out mutants.jsonl
    python tests/mutation/run.py alarms --count 5000 --jobs 8

Prints a line each as JSON; exit code 1 when a fault survives, fewer than 90 % of the mutants are killed, or an alarm is
raised. Takes minutes of many processors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from faults import FAULTS, attacks_on
from generate import sample
from harness import Verdict, attempt

from scenarios.loader import list_engines, load_engine, load_model, load_profile

KILLED = 0.9
WORLDS = 125
"""Worlds of one search for false alarms; each search has its own seed."""


def fault(number: int, examples: int) -> dict[str, Any]:
    """One fault, and what caught it."""
    one = FAULTS[number]
    verdict = attempt(one.module, one.source, attacks_on(one.module), examples)
    return {"module": one.module, "what": one.what} | asdict(verdict)


def mutant(number: int, count: int, seed: int, examples: int) -> dict[str, Any]:
    """One mutant, and what killed it."""
    one = sample(count, seed)[number]
    verdict: Verdict = attempt(one.module, one.source, attacks_on(one.module), examples)
    return {"mutant": one.name, "number": number} | asdict(verdict)


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
    return {"fault": fault, "mutant": mutant, "alarm": alarm}[name](*arguments)  # type: ignore[operator]


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
    parser.add_argument("what", choices=("faults", "mutants", "alarms"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--examples", type=int, default=500, help="of each attack, for one mutant (default 500)")
    parser.add_argument("--count", type=int, default=220, help="mutants, or worlds (default 220)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    load_profile("nvidia-h200")  # what all children need is loaded once
    load_model("tiny")
    for name in list_engines():
        load_engine(name)
    results = []
    with get_context("fork").Pool(words.jobs) as pool:
        for result in pool.imap_unordered(work, tasks(words)):
            line = json.dumps(result)
            results.append(result)
            print(line, flush=True)  # noqa: T201
            if words.out is not None:
                with words.out.open("a") as file:
                    file.write(line + "\n")
    if words.what == "alarms":
        return int(any(result["alarm"] for result in results))
    caught = sum(result["invariant"] is not None for result in results)
    print(f"{caught} of {len(results)} caught", file=sys.stderr)  # noqa: T201
    return int(caught < len(results) * (1.0 if words.what == "faults" else KILLED))


if __name__ == "__main__":
    raise SystemExit(main())
