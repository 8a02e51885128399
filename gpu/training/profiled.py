"""Kernels of a training step, phase by phase, as the profiler stamps them. Runs in a process of its own."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from gpu.training.measure import provenance
from gpu.training.step import TrainingStep

STEPS = 5


def kernels(config: dict[str, Any], device: str) -> dict[str, list[list[Any]]]:
    """Name and median duration (ns) of every kernel of an eager step, in the order of launches, by phase."""
    step = TrainingStep(**config, device=device)
    for _ in range(3):
        step()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities) as taken:
        for number in range(STEPS):
            with record_function(f"step {number}"):
                step(lambda name: record_function(f"phase {name}"))
            if device == "cuda":
                torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        taken.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    return by_phase(events)


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
    device = [e for e in events if e.get("cat") in ("kernel", "gpu_memset", "gpu_memcpy")]
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
        rows.append({**config, "kernels": kernels(config, device)})
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"provenance": provenance(device), "rows": rows}, indent=1))
        fresh.replace(path)
        print(config, {name: (len(row), sum(ns for _, ns in row)) for name, row in rows[-1]["kernels"].items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
