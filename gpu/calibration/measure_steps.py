"""Steps of real models in all modes: ``python -m gpu.calibration.measure_steps OUT_DIR`` writes ``steps.json``.

What the simulator predicts, run for real by our own engine, in a process that never profiles. Nothing is fitted to it.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gpu.calibration.provenance import cpu_model
from gpu.engine.build import TorchRun
from scenarios.loader import load_scenario
from sim.studies.serving import ServingRun
from sim.timeline.metrics import step_metrics

CASES = (
    ("decode-llama-3.1-8b", 1),
    ("decode-llama-3.1-8b", 16),
    ("decode-llama-3.1-8b", 128),
    ("decode-qwen3-0.6b", 1),
    ("decode-qwen3-0.6b", 16),
    ("decode-qwen3-0.6b", 64),
)
MODES = ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")
REPEATS = 5
OUTPUT_TOKENS = 32


def main() -> None:
    """Measure into the folder that is named on the command line; results are kept as they come."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "provenance": {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "cpu": cpu_model(),
            "date": time.strftime("%Y-%m-%d"),
            "command": "python -m gpu.calibration.measure_steps OUT_DIR",
        },
        "cases": [],
    }
    for scenario, batch in CASES:
        sets = [f"workload.batch={batch}", f"workload.output_tokens={OUTPUT_TOKENS}", f"engine.buckets=[{batch}]"]
        torch_run = TorchRun.of(ServingRun.of(load_scenario(scenario, sets)), "cuda")
        for mode in MODES:
            torch_run.run(mode)  # compiles and warms up
            steps = [step_metrics(torch_run.run(mode)).step_ns / 1000 for _ in range(REPEATS)]
            case = {"scenario": scenario, "set": sets, "mode": mode, "step_us": [round(us, 2) for us in steps]}
            result["cases"].append(case)
            print(scenario, batch, mode, *case["step_us"], flush=True)
            (out / "steps.json").write_text(json.dumps(result, indent=1))
        del torch_run
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
