"""Where and with what a validation measures."""

from __future__ import annotations

import platform
import time
from typing import Any

from gpu.backend import On, check_backend
from gpu.calibration.provenance import cpu_model, smi


def machine_of(on: On) -> dict[str, Any]:
    """Names of the machine behind a backend; ``gpu`` is None unless one is used.

    Raises ``ScenarioError`` when there is no such backend here.
    """
    check_backend(on)
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
    import torch  # noqa: PLC0415  only where it is used

    found["torch"] = torch.__version__
    if on == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "driver": smi("driver_version")}
    return found
