"""What our engine costs the host while it runs: ``python -m gpu.calibration.measure_server OUT_DIR``.

A model whose kernels take next to nothing is served by the real scheduler, loops and device, so that the host is
timed with its caches as cold as between two steps, not in a loop that does one thing over and over. Writes
``server.json``; times are microseconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpu.calibration.clock import now, summary
from gpu.calibration.provenance import cpu_model
from gpu.engine.build import TorchRun
from gpu.engine.inputs import Inputs, Table
from gpu.kernels.ops import TritonOps
from gpu.model.llama import Llama
from gpu.model.meta import LENGTH, TABLE
from gpu.model.weights import random_weights
from scenarios.loader import load_scenario
from scenarios.model import ModelShape
from sim.serving.batch import Batch
from sim.studies.serving import ServingRun
from sim.timeline.spans import FIELDS, Timeline

BATCHES = (1, 6, 24, 96, 192)
STEPS = 120
SMALL = {"layers": 32, "hidden": 256, "heads": 4, "kv_heads": 2, "head_dim": 64, "intermediate": 512, "vocab": 1024}
OPS = ("embed", "linear", "norm", "add_norm", "rope", "write_cache", "decode_attention", "silu_mul", "resolve")


def engine_calls(rows: int = 16) -> dict[str, Any]:
    """Host time of each operation of an eager forward pass, in the order in which a step runs them."""
    shape = ModelShape.model_validate({"name": "small", **SMALL})
    times: dict[str, list[float]] = defaultdict(list)
    ops = TritonOps()
    for name in OPS:
        setattr(ops, name, _timed(getattr(ops, name), times[name]))
    weights = random_weights(shape, torch.device("cuda"), torch.bfloat16, positions=256)
    model = Llama(weights, 64 * 16, ops)
    meta = torch.zeros(rows, TABLE + 8, device="cuda", dtype=torch.int32)
    meta[:, LENGTH] = 100
    for _ in range(60):
        logits = model.decode(meta)
        start = now()
        torch.argmax(logits, -1)
        times["argmax"].append((now() - start) / 1e3)
        torch.cuda.synchronize()
    return {name: summary(xs[len(xs) // 3 :]) for name, xs in times.items() if xs}


def _timed(call: Any, times: list[float]) -> Any:
    def timed(*arguments: Any) -> Any:
        start = now()
        result = call(*arguments)
        times.append((now() - start) / 1e3)
        return result

    return timed


class TimedInputs(Inputs):
    """Inputs that time how long a decode step's rows take to fill."""

    fills: list[float]

    def decode(self, batch: Batch, out: Table) -> None:
        """Write the rows of a decode batch."""
        start = now()
        super().decode(batch, out)
        self.fills.append((now() - start) / 1e3)


def server(mode: str, batch: int) -> dict[str, Any]:
    """Medians of what the host does in a step; ``launch`` is the device's whole ``launch``, filling included."""
    sets = [
        f"workload.batch={batch}",
        "workload.context=64",
        f"workload.output_tokens={STEPS}",
        f"engine.buckets=[{batch}]",
    ]
    run = ServingRun.of(load_scenario("decode-llama-3.1-8b", sets))
    shape = ModelShape.model_validate({"name": "small", **SMALL, "layers": 1})
    torch_run = TorchRun.of(replace(run, model=shape), "cuda")
    torch_run.inputs_class = TimedInputs
    TimedInputs.fills = []
    timeline = torch_run.run(mode)
    row: dict[str, Any] = {"mode": mode, "rows": batch, "fill": summary(TimedInputs.fills[5:])}
    for name in ("receive", "schedule", "prepare", "launch", "cudaEventSynchronize", "process"):
        row[name] = summary(_durations(timeline, name)[5:-5])
    return row


def _durations(timeline: Timeline, name: str) -> list[float]:
    rows = timeline.table[timeline.column("name") == timeline.names.index(name)]
    spent = rows[:, FIELDS.index("end")] - rows[:, FIELDS.index("start")]
    return [ns / 1e3 for ns in spent.tolist()]


def main() -> None:
    """Measure into the folder that is named on the command line."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    provenance = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cpu": cpu_model(),
        "date": time.strftime("%Y-%m-%d"),
        "command": "python -m gpu.calibration.measure_server OUT_DIR",
    }
    server("serial-graph", 4)
    rows = [server(mode, batch) for mode in ("serial-graph", "overlap-graph") for batch in BATCHES]
    result = {"provenance": provenance, "engine_calls": engine_calls(), "server": rows}
    (out / "server.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
