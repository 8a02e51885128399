"""From a scenario's workload to requests and their stops."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from random import Random

from scenarios.errors import Problem, ScenarioError
from scenarios.scenario import Workload
from sim.serving.request import Request
from sim.serving.source import RequestSource

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
LATEST = 1 << 62
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  the stamps carry no zone
MOONCAKE = ("timestamp", "input_length", "output_length")


def build_source(workload: Workload, *, seed: int = 0, foreseen_stops: bool = False) -> RequestSource:
    """The requests of a workload: a closed batch, a Poisson process, or a trace file.

    ``stop_share`` of them end by a stop token whose position is uniform over their output; ``foreseen_stops`` tells
    the scheduler of it as if it were a length limit, which prices what not knowing costs. Raises ``ScenarioError``
    for a trace file that cannot be read.
    """
    random = Random(seed)
    requests, stops = [], {}
    for number, (arrival, context, tokens) in enumerate(_requests(workload, random)):
        stop = random.randint(1, tokens) if random.random() < workload.stop_share else None
        if stop is not None and not foreseen_stops:
            stops[number] = stop
        longest = stop if stop is not None and foreseen_stops else tokens
        requests.append(Request(number, context, longest, arrival, computed=workload.batch is not None))
    return RequestSource(requests, stops)


def _requests(workload: Workload, random: Random) -> Iterator[tuple[int, int, int]]:
    """(arrival in ns, prompt tokens, output tokens) of each request."""
    if workload.batch is not None:
        for _ in range(workload.batch):
            yield 0, workload.context, workload.output_tokens
    elif workload.rate is not None:
        now = 0.0
        for _ in range(workload.requests or 0):
            now += random.expovariate(workload.rate) * 1e9
            yield round(now), workload.context, workload.output_tokens
    else:
        assert workload.trace is not None
        rows = list(_trace(Path(workload.trace)))[: workload.requests]
        if not rows:
            raise ScenarioError([Problem(workload.trace, "", "holds no request")])
        first = min(arrival for arrival, _, _ in rows)
        for arrival, context, tokens in sorted(rows):
            yield arrival - first, context, tokens


def _trace(path: Path) -> Iterator[tuple[int, int, int]]:
    """Rows of a published request trace: CSV with stamps (Azure LLM inference), or JSONL in ms (Mooncake)."""
    azure = path.suffix == ".csv"
    columns = AZURE if azure else MOONCAKE
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines: Iterable[dict[str, str] | str] = csv.DictReader(file) if azure else file
        for number, line in enumerate(lines, start=1):
            place = f"row {number}"
            if isinstance(line, str) and not line.strip():
                continue
            try:
                row = line if isinstance(line, dict) else json.loads(line)
                missing = [c for c in columns if row.get(c) is None]
                if missing:
                    message = f"no column {missing[0]!r}, expected {', '.join(columns)}"
                    raise ScenarioError([Problem(str(path), place, message)])
                stamp, context, tokens = (row[c] for c in columns)
                arrival = _nanoseconds(stamp) if azure else round(float(stamp) * 1e6)
                context, tokens = _count(columns[1], context), _count(columns[2], tokens)
            except (ValueError, TypeError, AttributeError, OverflowError) as error:
                raise ScenarioError([Problem(str(path), place, str(error))]) from error
            if arrival >= LATEST:
                raise ScenarioError([Problem(str(path), place, f"found {stamp}, expected a time within 30 years")])
            if context < 1 or tokens < 1:
                message = f"found {context} prompt and {tokens} output tokens, expected at least 1 of each"
                raise ScenarioError([Problem(str(path), place, message)])
            yield arrival, context, tokens


def _count(column: str, found: object) -> int:
    """A number of tokens, written as digits in CSV and as an integer in JSON."""
    if isinstance(found, str) and found.strip().lstrip("-").isdigit():
        return int(found)
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    raise ValueError(f"{column}: found {found!r}, expected an integer")


def _nanoseconds(stamp: str) -> int:
    """A stamp such as ``2023-11-16 18:17:03.9799600``, whose seventh digit ``datetime`` would drop."""
    whole, _, fraction = stamp.partition(".")
    seconds = round((datetime.fromisoformat(whole) - EPOCH).total_seconds())
    return seconds * 10**9 + int((fraction + "0" * 9)[:9])
