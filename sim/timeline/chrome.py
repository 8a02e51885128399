"""Timelines as a Chrome trace: one JSON file for Perfetto and chrome://tracing.

Categories and arguments are those of the torch profiler, so a prediction and a measured profile open side by
side and the same tools read both.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np

from sim.timeline.spans import DEVICE_KINDS, Kind, Place, Timeline

CATEGORIES = {
    Kind.KERNEL: "kernel",
    Kind.MEMCPY: "gpu_memcpy",
    Kind.MEMSET: "gpu_memset",
    Kind.HOST: "user_annotation",
    Kind.CALL: "cuda_runtime",
    Kind.WAIT: "cuda_runtime",
    Kind.NO_WORK: "user_annotation",
}
PIDS_PER_RUN = 10_000  # a run's process numbers do not depend on how many ranks the runs before it have


def write_chrome_trace(
    path: str | Path, runs: Mapping[str, Timeline], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the runs, by name, under each other in the order of the mapping; a ``.gz`` suffix compresses.

    Each rank of a run is a host process followed by a GPU process, its threads and streams in the order of
    the timeline's tracks. Times are microseconds with three decimals, which read back to the same nanosecond.
    Arrows lead from a launching call to everything it launched; work whose launch lies outside the timeline
    has none. Equal arguments give equal bytes. The file appears only once it is complete; until then a file
    of that name stays as it was. Deliveries are left out. Raises ``ValueError`` on a span that starts before
    time 0.
    """
    path = Path(path)
    with replacing(path) as temporary, _open(temporary, compress=path.suffix == ".gz") as file:
        file.write(
            '{"schemaVersion":1,"deviceProperties":[],"displayTimeUnit":"ms","baseTimeNanoseconds":0,\n'
            f'"otherData":{json.dumps(dict(metadata or {}))},\n"traceEvents":['
        )
        separator = "\n"
        for event in _events(runs):
            file.write(separator + event)
            separator = ",\n"
        file.write("\n]}\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a path beside ``path``; its file takes that place if the block succeeds and is removed if it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _open(path: Path, *, compress: bool) -> Iterator[TextIO]:
    with path.open("wb") as raw:
        # A gzip header that named the temporary file or the time would make equal traces differ.
        binary: gzip.GzipFile | io.BufferedWriter = gzip.GzipFile("", "wb", 6, raw, mtime=0) if compress else raw
        with io.TextIOWrapper(binary, encoding="utf-8", newline="\n") as text:
            yield text


def _events(runs: Mapping[str, Timeline]) -> Iterator[str]:
    """Every event as JSON; correlation ids shift run by run, since tools match them over the whole file."""
    offset = 0
    for position, (run, timeline) in enumerate(runs.items(), start=1):
        rows = _rows(timeline, PIDS_PER_RUN * position)
        yield from _processes(run, timeline, rows)
        yield from _spans(timeline, rows, offset)
        offset += int(timeline.column("correlation").max(initial=0))


def _rows(timeline: Timeline, first_pid: int) -> list[tuple[int, int]]:
    """Process and thread number of each track; threads count from 1 within their process."""
    rows: list[tuple[int, int]] = []
    for track in timeline.tracks:
        pid = first_pid + 2 * track.rank + (track.place is Place.STREAM)
        rows.append((pid, 1 + sum(pid == other for other, _ in rows)))
    return rows


def _processes(run: str, timeline: Timeline, rows: list[tuple[int, int]]) -> Iterator[str]:
    """Names and order of a run's processes, in order of their numbers, and of their threads."""
    processes = {pid: track for (pid, _), track in zip(rows, timeline.tracks, strict=True)}
    for pid, track in sorted(processes.items()):
        device, label = ("GPU", f"GPU {track.rank}") if track.place is Place.STREAM else ("host", "CPU")
        yield _meta("process_name", pid, 0, f'"name":{json.dumps(f"{run} {device} {track.rank}")}')
        yield _meta("process_labels", pid, 0, f'"labels":"{label}"')
        yield _meta("process_sort_index", pid, 0, f'"sort_index":{pid}')
    for (pid, tid), track in zip(rows, timeline.tracks, strict=True):
        yield _meta("thread_name", pid, tid, f'"name":{json.dumps(track.name)}')
        yield _meta("thread_sort_index", pid, tid, f'"sort_index":{tid}')


def _meta(name: str, pid: int, tid: int, args: str) -> str:
    return f'{{"ph":"M","name":"{name}","ts":0,"pid":{pid},"tid":{tid},"args":{{{args}}}}}'


def _spans(timeline: Timeline, rows: list[tuple[int, int]], offset: int) -> Iterator[str]:
    """Every span, each followed by its end of the arrow. An enclosing span precedes what it encloses."""
    start, end, correlations = (timeline.column(name) for name in ("start", "end", "correlation"))
    if start.min(initial=0) < 0:
        raise ValueError(f"a trace starts at time 0, but a span starts at {start.min()} ns")
    places = [f'"pid":{pid},"tid":{tid}' for pid, tid in rows]
    streams = [f'"device":{t.rank},"stream":{tid}' for t, (_, tid) in zip(timeline.tracks, rows, strict=True)]
    names = [json.dumps(name) for name in timeline.names]
    categories = [CATEGORIES[kind] for kind in Kind]
    launches = set(correlations[timeline.column("kind") == Kind.CALL].tolist()) - {0}
    arrows = {Kind.CALL: '"ph":"s"'} | dict.fromkeys(DEVICE_KINDS, '"ph":"f","bp":"e"')
    for track, begin, finish, kind, name, correlation, step in timeline.table[np.lexsort((-end, start))].tolist():
        args = [streams[track]] if kind <= Kind.MEMSET else []
        if correlation:
            args.append(f'"correlation":{correlation + offset}')
        if step != -1:
            args.append(f'"step":{step}')
        when = f'{places[track]},"ts":{_microseconds(begin)}'
        yield (
            f'{{"ph":"X","cat":"{categories[kind]}","name":{names[name]},{when},'
            f'"dur":{_microseconds(finish - begin)},"args":{{{",".join(args)}}}}}'
        )
        if correlation in launches and kind in arrows:
            yield f'{{{arrows[kind]},"cat":"ac2g","name":"ac2g","id":{correlation + offset},{when}}}'


def _microseconds(ns: int) -> str:
    return f"{ns // 1000}.{ns % 1000:03d}"
