"""Spans in straight code: what writes them is called with times by name, and with the number of the step."""

from __future__ import annotations

from typing import Any

from sim.fast.pace import Pace
from sim.fast.script import Script, Time
from sim.fast.spans import SpanWriter
from sim.program.ops import Copy
from sim.timeline.spans import Column, Kind


class ScriptSpans(SpanWriter):
    """Writes down the calls that have ``real`` write spans, which belong to the step that the code is about."""

    def __init__(self, script: Script, real: SpanWriter) -> None:
        super().__init__(real.recorder, real.track, kept=real.kept)
        self._script = script
        self._real = real

    def _write(self, method: str, *values: Any) -> None:
        if self.kept:
            keep = self._script.keep
            texts = [str(v) if isinstance(v, Time | int) else keep(v) for v in values]
            self._script.lines.append(f"{keep(self._real)}.{method}({', '.join(texts)}, step.index)")

    def host(self, start: Any, end: Any, kind: Kind, name: str, step: int = -1) -> None:
        """Work of the host thread."""
        del step
        self._write("host", start, end, int(kind), name)

    def call(self, start: Any, end: Any, name: str, step: int) -> None:
        """A call that enqueues."""
        del step
        self._write("call", start, end, name)

    def kernel(self, track: int, start: Any, end: Any, name: str, step: int) -> None:
        """The kernel that the last call launched."""
        del step
        self._write("kernel", track, start, end, name)

    def copy(self, track: int, start: Any, end: Any, op: Copy, step: int) -> None:
        """The copy that the last call launched."""
        del step
        self._write("copy", track, start, end, op)

    def graph(self, track: int, start: Any, ns: Any, names: Column, gap: int, step: int) -> None:
        """The kernels of the graph that the last call launched."""
        del step
        self._write("graph", track, start, ns, names, gap)

    def train(
        self, track: int, begin: Any, returns: Column, pace: Pace, first: Any, ns: Any, names: Column, step: int
    ) -> None:
        """Kernels launched one after the other."""
        del step
        self._write(
            "train", track, begin, returns, pace.slacks if isinstance(pace.slacks, Time) else pace, first, ns, names
        )
