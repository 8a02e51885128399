"""What our own scheduler costs the host, written to ``scheduler.json``.

``python -m gpu.calibration.measure_scheduler OUT_DIR`` needs no GPU, only the machine whose host is to be described. A
batch of each size decodes to the end one step ahead, with the objects that every machine runs; ``prepare`` also fills
the staging arrays that a step's inputs are copied from. Times are microseconds.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np

from gpu.calibration.provenance import cpu_model
from sim.serving.batch import Batch, StepResult
from sim.serving.buckets import Buckets
from sim.serving.future_map import SlotRing, reference
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server

ROWS = (1, 2, 6, 12, 24, 48, 96, 192, 256)
STEPS = 300
PAGE = 16
clock = time.perf_counter_ns


class Staging:
    """Input arrays of a step, kept from step to step: only what changes is written."""

    def __init__(self, rows: int, pages: int) -> None:
        self.tokens = np.zeros(rows, np.int64)
        self.positions = np.zeros(rows, np.int64)
        self.lengths = np.zeros(rows, np.int32)
        self.slots = np.zeros(rows, np.int64)
        self.table = np.zeros((rows, pages), np.int32)
        self._members: tuple[Request, ...] | None = None

    def fill(self, batch: Batch, kv: KVCache) -> None:
        """Inputs of a decode step; rows that stay advance by one token each."""
        rows = batch.rows
        if batch.members is not self._members:
            self._members = batch.members
            for row, request in enumerate(batch.members):
                table = kv.table(request.id)
                self.table[row, : len(table)] = table
                self.lengths[row] = request.context
        self.lengths[:rows] += 1
        np.subtract(self.lengths[:rows], 1, out=self.positions[:rows], casting="unsafe")
        page = self.table[np.arange(rows), self.positions[:rows] // PAGE]
        np.multiply(page, PAGE, out=self.slots[:rows], casting="unsafe")
        self.slots[:rows] += self.positions[:rows] % PAGE
        at = 0
        for piece in batch.sources:
            self.tokens[at : at + len(piece)] = np.arange(reference(piece.start), reference(piece.stop), -1)
            at += len(piece)


def measure(rows: int, context: int = 1024) -> dict[str, list[float]]:
    """Times of each kind of work over the steps of one closed batch."""
    kv = KVCache(rows * (-(-(context + STEPS + 1) // PAGE)) + 8, PAGE)
    server = Server(Scheduler(kv), Buckets(tuple(range(1, 257))), SlotRing(3 * 256))
    staging = Staging(rows, -(-(context + STEPS + 1) // PAGE))
    times: dict[str, list[float]] = {"receive": [], "schedule": [], "prepare": [], "process": []}
    closed = tuple(Request(i, context, STEPS, computed=True) for i in range(rows))
    requests: deque[tuple[Request, ...]] = deque([closed])
    previous = None
    while True:
        began = clock()
        server.add(requests.popleft() if requests else ())
        received = clock()
        batch = server.schedule()
        scheduled = clock()
        if batch is not None:
            server.prepare(batch)
            staging.fill(batch, kv)
        prepared = clock()
        if previous is not None:
            server.process(previous, StepResult(0))
        processed = clock()
        stamps = (began, received, scheduled, prepared, processed)
        for name, a, b in zip(times, stamps, stamps[1:], strict=False):
            times[name].append((b - a) / 1e3)
        if batch is None and previous is None:
            return {name: xs[5:-5] for name, xs in times.items()}
        previous = batch


def main() -> None:
    """Measure all sizes into the folder that is named on the command line."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    measure(16)
    rows = []
    for count in ROWS:
        times = measure(count)
        row: dict[str, object] = {"rows": count}
        for name, xs in times.items():
            row[name] = {"p50": round(float(np.median(xs)), 3), "p90": round(float(np.quantile(xs, 0.9)), 3)}
        rows.append(row)
    provenance = {
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "command": "python -m gpu.calibration.measure_scheduler OUT_DIR",
    }
    (out / "scheduler.json").write_text(json.dumps({"provenance": provenance, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
