"""Request traces as they are published: CSV with stamps (Azure LLM inference), JSONL in milliseconds (Mooncake)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from scenarios.errors import Problem, ScenarioError
from scenarios.workload import Workload
from sim.studies.draws import draws

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOONCAKE = ("timestamp", "input_length", "output_length")
LATEST = 1 << 62
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  the stamps of the traces that are published carry no zone
SHOWN = 20
"""Bad rows that are reported one by one."""


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """A row of a trace: its number from 1, arrival in nanoseconds, tokens, and hashes of its prompt's blocks."""

    row: int
    arrival: int
    context: int
    tokens: int
    hash_ids: tuple[int, ...] = ()


class _RowError(ValueError):
    """What is wrong with one row."""


def read_trace(path: Path) -> list[TracedRequest]:
    """All rows of a trace; raises ``ScenarioError`` with every bad row by its number, counted from 1 without the head.

    Stamps must not fall from one row to the next: a file in another order is another trace.
    """
    problems: list[Problem] = []
    rows: list[TracedRequest] = []
    stamped = -LATEST
    for number, line in _lines(path, problems):
        try:
            row = _azure(number, line) if isinstance(line, dict) else _mooncake(number, line)
            if row.arrival < stamped:
                before = f"{(stamped - row.arrival) / 1e9:g} s before the row above"
                raise _RowError(f"found a stamp {before}, expected rows in the order of their stamps")
            stamped = row.arrival
            rows.append(row)
        except (ValueError, OverflowError) as error:
            problems.append(Problem(str(path), f"row {number}", str(error)))
    if len(problems) > SHOWN:
        problems[SHOWN:] = [Problem(str(path), "", f"and {len(problems) - SHOWN} more rows like these")]
    if not rows and not problems:
        problems.append(Problem(str(path), "", "holds no request"))
    if problems:
        raise ScenarioError(problems)
    return rows


def arrange(rows: list[TracedRequest], workload: Workload, seed: int) -> list[TracedRequest]:
    """The rows that a workload takes, their arrivals counted from the first or the window's begin, spread and scaled.

    Raises ``ScenarioError`` when none is left.
    """
    first = rows[0].arrival
    times = np.array([row.arrival - first for row in rows], dtype=np.float64)
    if workload.spread:  # a request's place in its step is its own: a window does not move it
        times += draws(seed, "spread").random(len(rows)) * workload.spread
    order = np.argsort(times, kind="stable")
    begin, end = workload.window or (0, LATEST)
    kept = [i for i in order.tolist() if begin <= times[i] < end][: workload.requests]
    if not kept:
        raise ScenarioError([Problem(str(workload.trace), "workload.window", "holds no request of the trace")])
    return [
        TracedRequest(
            rows[i].row, round((times[i] - begin) / workload.rate_scale), rows[i].context, rows[i].tokens,
            rows[i].hash_ids,
        )
        for i in kept
    ]  # fmt: skip


def _lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows by number; a CSV's head without the columns is one problem, not one a row."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        if path.suffix != ".csv":
            yield from ((number, line) for number, line in enumerate(file, start=1) if line.strip())
            return
        lines: Iterable[dict[str, Any]] = csv.DictReader(file)
        names = getattr(lines, "fieldnames", None) or ()
        missing = [column for column in AZURE if column not in names]
        if missing:
            message = f"no column {', '.join(map(repr, missing))}, expected {', '.join(AZURE)}"
            problems.append(Problem(str(path), "", message))
            return
        yield from enumerate(lines, start=1)


def _azure(number: int, row: dict[str, Any]) -> TracedRequest:
    stamp, context, tokens = (row.get(column) for column in AZURE)
    _all_there(dict(zip(AZURE, (stamp, context, tokens), strict=True)))
    assert isinstance(stamp, str)
    return _row(number, _nanoseconds(stamp), stamp, _count(AZURE[1], context), _count(AZURE[2], tokens))


def _mooncake(number: int, line: str) -> TracedRequest:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise _RowError(f"found {line.strip()[:40]!r}, expected an object with {', '.join(MOONCAKE)}")
    _all_there({column: row.get(column) for column in MOONCAKE})
    stamp = row[MOONCAKE[0]]
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        raise _RowError(f"{MOONCAKE[0]}: found {stamp!r}, expected milliseconds")
    hashes = row.get("hash_ids") or ()
    if not isinstance(hashes, list | tuple) or not all(type(one) is int for one in hashes):
        raise _RowError("hash_ids: expected a list of integers")
    context, tokens = (_count(column, row[column]) for column in MOONCAKE[1:])
    return _row(number, round(stamp * 1e6), stamp, context, tokens, tuple(hashes))


def _all_there(values: dict[str, object]) -> None:
    missing = [column for column, value in values.items() if value is None]
    if missing:
        raise _RowError(f"no column {', '.join(map(repr, missing))}, expected {', '.join(values)}")


def _row(
    number: int, arrival: int, stamp: object, context: int, tokens: int, hash_ids: tuple[int, ...] = ()
) -> TracedRequest:
    if not -LATEST < arrival < LATEST:
        raise _RowError(f"found {stamp}, expected a time within 100 years")
    if context < 1 or tokens < 1:
        raise _RowError(f"found {context} prompt and {tokens} output tokens, expected at least 1 of each")
    return TracedRequest(number, arrival, context, tokens, hash_ids)


def _count(column: str, found: object) -> int:
    """A number of tokens, written as digits in CSV and as an integer in JSON."""
    if isinstance(found, str) and found.strip().lstrip("-").isdigit():
        return int(found)
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    raise _RowError(f"{column}: found {found!r}, expected an integer")


def _nanoseconds(stamp: str) -> int:
    """A stamp such as ``2023-11-16 18:17:03.9799600`` or ``...+00:00``, whose seventh digit ``datetime`` would drop."""
    whole, _, rest = stamp.strip().partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        time = datetime.fromisoformat(whole + rest[len(digits) :])
    except ValueError:
        raise _RowError(f"{AZURE[0]}: found {stamp!r}, expected a time such as 2023-11-16 18:17:03.9799600") from None
    if time.tzinfo is not None:
        time = time.astimezone(UTC).replace(tzinfo=None)
    return round((time - EPOCH).total_seconds()) * 10**9 + int((digits + "0" * 9)[:9])
