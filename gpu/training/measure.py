"""Times training steps: eager and captured, and what the host does in each phase."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gpu.calibration import in_process
from gpu.calibration.provenance import cpu_model, smi
from gpu.training.step import TrainingStep, captured

FEWEST, LONG, REPEATS = 5, 0.06, 5
"""Steps of a run at least, how long a run should last (s), and how often it is repeated."""


def synchronize() -> None:
    """Wait for the device, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(run: Callable[[], Any]) -> dict[str, Any]:
    """A step's time (us) over runs of many that end with a synchronize; ``host`` is when the last call returned."""
    for _ in range(3):
        run()
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    number = max(FEWEST, min(400, round(LONG / max(1e-6, time.perf_counter() - start))))
    steps, hosts = [], []
    for _ in range(REPEATS):
        synchronize()
        start = time.perf_counter()
        for _ in range(number):
            run()
        returned = time.perf_counter()
        synchronize()
        steps.append(1e6 * (time.perf_counter() - start) / number)
        hosts.append(1e6 * (returned - start) / number)
    return {"steps": number, "step_us": steps, "host_us": hosts}


def host_phases(step: TrainingStep) -> dict[str, float]:
    """What the host takes for each phase (us, median of 30 steps), the device idle at each step's start."""
    seen: dict[str, list[float]] = {}

    @contextmanager
    def span(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seen.setdefault(name, []).append(1e6 * (time.perf_counter() - start))

    for _ in range(5):
        step()
    for _ in range(30):
        synchronize()
        step(span)
    synchronize()
    return {name: median(values) for name, values in seen.items()}


def measured(config: dict[str, Any], device: str) -> dict[str, Any]:
    """One configuration in all modes. An own process for each is not needed: nothing here profiles."""
    gc.collect()
    gc.disable()
    try:
        step = TrainingStep(**config, device=device)
        found: dict[str, Any] = {**config, "parameters": sum(p.numel() for p in step.model.parameters())}
        found["eager"] = timed(step)
        found["phases"] = host_phases(step)
        if device == "cuda":
            for name, whole in (("graph-gradients", False), ("graph-step", True)):
                before, start = torch.cuda.memory_reserved(), time.perf_counter()
                run = captured(step, whole=whole)
                synchronize()
                found[name] = {
                    "capture_ms": 1e3 * (time.perf_counter() - start),
                    "memory": torch.cuda.memory_reserved() - before,
                    **timed(run),
                }
                del run
        return found
    finally:
        gc.enable()


def provenance(device: str) -> dict[str, Any]:
    """The machine."""
    found = {"date": time.strftime("%Y-%m-%d"), "torch": torch.__version__, "cpu": cpu_model(), "gpu": None}
    if device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "driver": smi("driver_version")}
    return found


def engine_numbers() -> dict[str, int]:
    """What launches of the serving engine take this host now (ns, by kind)."""
    numbers = in_process.measure()
    return {kind: numbers[kind] for kind in in_process.FORWARD}


def main(path: Path, device: str, configs: list[dict[str, Any]]) -> None:
    """Measure all configurations and keep each as soon as it is done, the host's pace beside each."""
    rows: list[dict[str, Any]] = []
    for config in configs:
        start = time.perf_counter()
        rows.append(measured(config, device))
        if device == "cuda":
            rows[-1]["in_process"] = engine_numbers()
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"provenance": provenance(device), "rows": rows}, indent=1))
        fresh.replace(path)
        names = [name for name in rows[-1] if name.startswith(("eager", "graph"))]
        print(round(time.perf_counter() - start, 1), config, {n: round(median(rows[-1][n]["step_us"])) for n in names})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
