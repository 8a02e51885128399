"""Traces of torch's profiler: the calls of a host's threads and what ran on its device, by the trace's own clock."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from scenarios.errors import Problem, ScenarioError
from sim.timeline.spans import Kind

CALLS = frozenset({"cuda_runtime", "cuda_driver", "Runtime"})
DEVICE_WORK = {
    "kernel": Kind.KERNEL,
    "Kernel": Kind.KERNEL,
    "gpu_memcpy": Kind.MEMCPY,
    "Memcpy": Kind.MEMCPY,
    "gpu_memset": Kind.MEMSET,
    "Memset": Kind.MEMSET,
}
"""Categories as traces spell them, those of 2021 included."""


class Call(NamedTuple):
    """A call of the CUDA runtime or driver; times are nanoseconds, ``correlation`` 0 where the trace has none."""

    thread: int
    start: int
    end: int
    name: str
    correlation: int


class Work(NamedTuple):
    """A kernel, a copy or a memset; it carries the correlation of the call that launched it, a graph's kernels too."""

    stream: int
    start: int
    end: int
    kind: Kind
    name: str
    correlation: int


class Mark(NamedTuple):
    """A range that the profiled program named."""

    thread: int
    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class Trace:
    """What a trace holds of one process and one device, each list in order of start."""

    calls: tuple[Call, ...]
    work: tuple[Work, ...]
    marks: tuple[Mark, ...]


def read_trace(path: Path) -> Trace:
    """Read a trace, gzipped or not. Times count from the trace's base. Raises ``ScenarioError`` on any other file."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            # a float has no room for nanoseconds since 1970
            document = json.load(file, parse_float=Decimal)
        return trace_of(document["traceEvents"])
    except (ValueError, KeyError, TypeError, gzip.BadGzipFile) as error:
        message = f"found {type(error).__name__} {error}, expected a trace of torch's profiler"
        raise ScenarioError([Problem(str(path), "", message)]) from error


def trace_of(events: Iterable[dict[str, Any]]) -> Trace:
    """Sort the events of a trace's list by what they are; times are microseconds there, and nanoseconds here."""
    calls: list[Call] = []
    work: list[Work] = []
    marks: list[Mark] = []
    for event in events:
        if event.get("ph") != "X":
            continue
        category, name, about = event.get("cat"), event["name"], event.get("args") or {}
        start = _ns(event["ts"])
        end = start + _ns(event["dur"])
        correlation = int(about.get("correlation") or 0)
        if category in CALLS:
            calls.append(Call(int(event["tid"]), start, end, name, correlation))
        elif category in DEVICE_WORK:
            work.append(Work(int(about["stream"]), start, end, DEVICE_WORK[category], name, correlation))
        elif category == "user_annotation":
            marks.append(Mark(int(event["tid"]), start, end, name))
    start_of = attrgetter("start")
    return Trace(
        tuple(sorted(calls, key=start_of)), tuple(sorted(work, key=start_of)), tuple(sorted(marks, key=start_of))
    )


def _ns(microseconds: Decimal | int | str) -> int:
    return round(Decimal(microseconds) * 1000)
