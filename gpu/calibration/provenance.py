"""Names of the machine that measures."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_model() -> str:
    """The processor as Linux names it, elsewhere as Python does."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
