"""One run of a session under torch's profiler."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, runtime_checkable

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from gpu.profiling.alignment import Clock, Marker, align
from gpu.profiling.join import Joined, joined
from gpu.session import Session
from sim.timeline.kineto import Trace, read_trace

MARKERS = 20
"""At either end of a run: the narrowest of them bounds the clocks' error, and some are always interrupted."""
MARK, STREAM = "overlapsim marker ", "overlapsim stream "


@runtime_checkable
class KnowsStreams(Protocol):
    """A session that can tell its streams."""

    def streams(self) -> dict[str, Any]:
        """The latest run's torch streams by what runs on them."""


def record(session: Session, mode: str) -> tuple[Joined, Clock]:
    """Run a mode twice, the second time under the profiler, and join what both clocks saw.

    From here on this process is slow to launch graphs: nothing may be timed in it. Raises ``ValueError`` when the
    trace holds fewer than two of the markers.
    """
    session.run(mode)
    cuda = torch.cuda.is_available()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        with profile(activities=activities) as profiler:
            readings = [_mark(number) for number in range(MARKERS)]
            host = session.run(mode)
            readings += [_mark(number) for number in range(MARKERS, 2 * MARKERS)]
            _name_streams(session)
        profiler.export_chrome_trace(str(path))
        trace = read_trace(path)
    clock = align(markers(trace, readings))
    return joined(host, trace, clock, stream_names(trace)), clock


def markers(trace: Trace, readings: list[tuple[int, int]]) -> list[Marker]:
    """The marked moments: where each numbered range of the trace begins, between its two readings of the clock."""
    begins = {int(m.name.removeprefix(MARK)): m.start for m in trace.marks if m.name.startswith(MARK)}
    return [Marker(*readings[number], stamp) for number, stamp in sorted(begins.items())]


def stream_names(trace: Trace) -> dict[int, str]:
    """The trace's ids of the streams that were named: by what was launched within each naming range."""
    stream_of = {work.correlation: work.stream for work in trace.work}
    names: dict[int, str] = {}
    for mark in trace.marks:
        if mark.name.startswith(STREAM):
            inside = [c for c in trace.calls if mark.start <= c.start and c.end <= mark.end]
            names |= {
                stream_of[c.correlation]: mark.name.removeprefix(STREAM) for c in inside if c.correlation in stream_of
            }
    return names


def _mark(number: int) -> tuple[int, int]:
    before = time.perf_counter_ns()
    with record_function(f"{MARK}{number}"):
        return before, time.perf_counter_ns()


def _name_streams(session: Session) -> None:
    """Run a kernel on each stream that the session knows: the trace numbers streams in a way torch does not tell."""
    streams = session.streams() if isinstance(session, KnowsStreams) else {}
    for name, stream in streams.items():
        with torch.cuda.stream(stream), record_function(STREAM + name):
            torch.zeros(1, device="cuda")
    if streams:
        torch.cuda.synchronize()
