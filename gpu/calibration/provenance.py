"""Names of the machine that measures."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path


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
