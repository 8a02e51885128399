"""What the profiled process leaves in a folder for the one that asked: a timeline as an array and the rest as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gpu.profiling.join import Joined
from sim.timeline.spans import Delivery, Place, Served, Timeline, Track


def save(folder: Path, mode: str, found: Joined, error: int) -> None:
    """Write one mode's joined timeline, and by how much its two clocks may be apart (ns)."""
    timeline = found.timeline
    np.savez(folder / f"{mode}.npz", table=timeline.table)
    about = {
        "error": error,
        "outside": found.outside,
        "too_early": found.too_early,
        "earliest": found.earliest,
        "origin": timeline.origin,
        "names": timeline.names,
        "tracks": [asdict(track) for track in timeline.tracks],
        "deliveries": [asdict(delivery) for delivery in timeline.deliveries],
        "served": [asdict(served) for served in timeline.served],
    }
    (folder / f"{mode}.json").write_text(json.dumps(about))


def load(folder: Path, mode: str) -> tuple[Joined, int]:
    """Read back what ``save`` wrote."""
    about = json.loads((folder / f"{mode}.json").read_text())
    with np.load(folder / f"{mode}.npz") as arrays:
        table = arrays["table"]
    timeline = Timeline(
        tuple(Track(t["name"], Place(t["place"]), t["rank"]) for t in about["tracks"]),
        tuple(about["names"]),
        table,
        tuple(Delivery(**delivery) for delivery in about["deliveries"]),
        tuple(Served(**served) for served in about["served"]),
        about["origin"],
    )
    return Joined(timeline, about["outside"], about["too_early"], about["earliest"]), about["error"]
