"""Kernels of a training step, phase by phase, as the profiler stamps them. Runs in a process of its own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from gpu.training.fit import short
from gpu.training.kernels_file import write_kernels
from gpu.training.measure import provenance, synchronize
from gpu.training.step import TrainingStep, captured

DEVICE = ("kernel", "gpu_memset", "gpu_memcpy")
STEPS, WARM_UP = 5, 0.3
"""Steps that are profiled, and how long the device works before (s): clocks fall under a lasting load."""


def kernels(config: dict[str, Any], device: str) -> dict[str, Any]:
    """Name, and median durations (ns) in eager steps and in replays, of every kernel of a step, in order, by phase.

    A kernel that follows the one before it at once is faster than one that the device had to wait for. Where a graph
    has other kernels, ``not_replayed`` says which, and only the eager times are there.
    """
    step = TrainingStep(**config, device=device)
    with recorded(step) as eager:
        for _ in range(STEPS):
            step(lambda name: record_function(f"phase {name}"))
    phases = by_phase(eager())
    if device == "cuda":
        replay = captured(step, whole=True)
        with recorded(replay) as replays:
            for _ in range(STEPS):
                replay()
        try:
            add_replayed(phases, replays())
        except ValueError as error:
            return {"kernels": phases, "not_replayed": str(error)}
    return {"kernels": phases}


@contextmanager
def recorded(run: Callable[[], Any]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Profile the block, after the device has been at work; what it yields gives the events when the block is over."""
    end = time.perf_counter() + WARM_UP
    while time.perf_counter() < end:
        run()
        synchronize()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    events: list[dict[str, Any]] = []
    with profile(activities=activities) as taken:
        yield lambda: events
        synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        taken.export_chrome_trace(str(path))
        events += json.loads(path.read_text())["traceEvents"]


def add_replayed(phases: dict[str, list[list[Any]]], events: list[dict[str, Any]]) -> None:
    """Append to each kernel what it takes in a replay; raises ``ValueError`` where a graph has other kernels."""
    rows = sorted((e for e in events if e.get("cat") in DEVICE), key=lambda e: e["ts"])
    ours = [row for kernels in phases.values() for row in kernels]
    if len(rows) != STEPS * len(ours):
        raise ValueError(f"{len(rows)} kernels in {STEPS} replays of a step of {len(ours)}")
    replayed = [rows[number :: len(ours)] for number in range(len(ours))]
    for number, (row, same) in enumerate(zip(ours, replayed, strict=True)):
        if {short(e["name"]) for e in same} != {short(row[0])}:
            raise ValueError(f"kernel {number} is {row[0]} in an eager step and {same[0]['name']} in a replay")
    for row, same in zip(ours, replayed, strict=True):
        row.append(round(1000 * median(e["dur"] for e in same)))


def by_phase(events: list[dict[str, Any]]) -> dict[str, list[list[Any]]]:
    """From a profiler's events to kernels by phase, each phase's of all steps laid over each other."""
    calls = {
        e["args"]["correlation"]: e["ts"]
        for e in events
        if e.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in e.get("args", {})
    }
    spans = [
        (e["ts"], e["ts"] + e["dur"], e["name"].removeprefix("phase "))
        for e in events
        if e.get("cat") == "user_annotation" and e["name"].startswith("phase ")
    ]
    spans.sort()
    rows: dict[str, list[list[dict[str, Any]]]] = {}
    device = [e for e in events if e.get("cat") in DEVICE]
    for start, end, name in spans:
        inside = [e for e in device if start <= calls.get(e["args"]["correlation"], -1) <= end]
        rows.setdefault(name, []).append(sorted(inside, key=lambda e: calls[e["args"]["correlation"]]))
    return {
        name: [[same[0]["name"], round(1000 * median(e["dur"] for e in same))] for same in zip(*runs, strict=False)]
        for name, runs in rows.items()
    }


def main(path: Path, device: str, configs: list[dict[str, Any]]) -> None:
    """Profile all configurations and keep each as soon as it is done."""
    rows: list[dict[str, Any]] = []
    for config in configs:
        rows.append({**config, **kernels(config, device)})
        write_kernels(path, provenance(device), rows)
        print(config, {name: len(row) for name, row in rows[-1]["kernels"].items()}, rows[-1].get("not_replayed", ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
