"""What the profiled process leaves in a folder for the one that asked: timelines as columns and the rest as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from gpu.profiling.join import Joined
from sim.timeline.columns import load_timeline, save_timeline


def save(folder: Path, mode: str, found: Joined, error: int) -> None:
    """Write one mode's joined timeline, and by how much its two clocks may be apart (ns)."""
    save_timeline(folder / f"{mode}.npz", replace(found.timeline, clock_error=error))
    about = {"outside": found.outside, "too_early": found.too_early, "earliest": found.earliest}
    (folder / f"{mode}.json").write_text(json.dumps(about))


def load(folder: Path, mode: str) -> tuple[Joined, int]:
    """Read back what ``save`` wrote."""
    timeline = load_timeline(folder / f"{mode}.npz")
    return Joined(timeline, **json.loads((folder / f"{mode}.json").read_text())), timeline.clock_error
