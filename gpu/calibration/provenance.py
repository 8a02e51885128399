"""Names of the machine that measures."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any


def cpu_model() -> str:
    """The processor as Linux names it, elsewhere as Python does."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def smi(field: str) -> str:
    """What ``nvidia-smi`` tells of a field of the first GPU, empty where there is no such command."""
    if (command := shutil.which("nvidia-smi")) is None:
        return ""
    query = [command, f"--query-gpu={field}", "--format=csv,noheader"]
    told = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603  a field of ours
    return (told.stdout.strip().splitlines() or [""])[0]


def provenance(command: str) -> dict[str, Any]:
    """Where, when and with what something is measured."""
    import torch  # noqa: PLC0415  the processor has a name without it

    return {
        "gpu": torch.cuda.get_device_name(),
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count,
        "memory": torch.cuda.get_device_properties(0).total_memory,
        "driver": smi("driver_version"),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        "command": command,
    }
