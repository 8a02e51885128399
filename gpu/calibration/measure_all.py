"""Everything that is measured on one CUDA GPU and its host: ``python -m gpu.calibration.measure_all OUT_DIR``.

Writes ``families.json``, again after every part, in a process that never profiles; then runs the profiler, our own
scheduler and our own server in processes of their own, which write ``profiled.json``, ``scheduler.json`` and
``server.json``. Times are microseconds.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gpu.calibration.clock import DEV, cycles_per_us
from gpu.calibration.measure_attention import decode_attentions, prefill_attentions
from gpu.calibration.measure_engine import engine_kernels
from gpu.calibration.measure_host import first_replays, gil, host_calls, streams, synchronization
from gpu.calibration.measure_kernels import gemms, small_kernels
from gpu.calibration.provenance import cpu_model, smi

PARTS: dict[str, Callable[[], Any]] = {
    "host_calls": host_calls,
    "synchronization": synchronization,
    "gil": gil,
    "streams": streams,
    "first_replays": first_replays,
    "small": small_kernels,
    "engine": engine_kernels,
    "gemm": gemms,
    "attention_prefill": prefill_attentions,
    "attention_decode": decode_attentions,
    "host_calls_again": host_calls,
}
PROCESSES = (
    "gpu.calibration.measure_profiled",
    "gpu.calibration.measure_scheduler",
    "gpu.calibration.measure_server",
)


def measure(out: Path) -> list[str]:
    """Measure into a folder; the names of what failed. A part's error stands in the file in place of its table."""
    result: dict[str, Any] = {"provenance": _provenance()}
    failed: list[str] = []
    _warm_up()
    for name, part in PARTS.items():
        start = time.perf_counter()
        try:
            result[name] = part()
        except Exception as error:  # noqa: BLE001  # the other parts are worth having
            traceback.print_exc()
            result[name] = {"error": repr(error)}
            failed.append(name)
        _report(name, start)
        _write(out, result)
    for module in PROCESSES:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", module, str(out)], check=False)  # noqa: S603  # our own modules
        if done.returncode:
            result[module] = {"error": f"exit status {done.returncode}"}
            failed.append(module)
        _report(module, start)
    _write(out, result)
    return failed


def main() -> None:
    """Measure into the folder that is named on the command line; exit status 1 when anything failed."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    if failed := measure(out):
        sys.exit(f"failed: {', '.join(failed)}")


def _provenance() -> dict[str, Any]:
    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": smi("driver_version"),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        "command": "python -m gpu.calibration.measure_all OUT_DIR",
        "cycles_per_us": cycles_per_us(),
    }


def _warm_up() -> None:
    x = torch.zeros(1024, device=DEV)
    for _ in range(3000):
        x.add_(1)


def _report(name: str, start: float) -> None:
    print(name, round(time.perf_counter() - start, 1), "s", flush=True)


def _write(out: Path, result: dict[str, Any]) -> None:
    (out / "families.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
