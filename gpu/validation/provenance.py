"""Where and with what a validation measures."""

from __future__ import annotations

import platform
import subprocess
import time
from typing import Any

from gpu.calibration.provenance import cpu_model
from gpu.session import On
from scenarios.errors import Problem, ScenarioError


def machine_of(on: On) -> dict[str, Any]:
    """Names of the machine behind a backend; ``gpu`` is None unless one is used.

    Raises ``ScenarioError`` when there is no such backend here.
    """
    found: dict[str, Any] = {
        "on": on,
        "gpu": None,
        "driver": None,
        "cuda": None,
        "torch": None,
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    if on == "emulated":
        return found
    try:
        import torch  # noqa: PLC0415  only where it is used
    except ImportError:
        message = f"{on} needs torch, which is not installed: pip install 'overlapsim[gpu]'"
        raise ScenarioError([Problem("--on", "", message)]) from None
    found["torch"] = torch.__version__
    if on == "cuda":
        if not torch.cuda.is_available():
            message = "found cuda, but this machine has no CUDA GPU that torch can use; expected 'cpu' or 'emulated'"
            raise ScenarioError([Problem("--on", "", message)])
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "driver": _driver()}
    return found


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    told = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603  a constant command
    return told.stdout.strip().split("\n")[0]
