"""Timelines as files of columns: small enough to keep, and read back to the nanosecond."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sim.timeline.chrome import replacing
from sim.timeline.spans import Delivery, Place, Served, Spans, Timeline, Track


def save_timeline(path: Path, timeline: Timeline) -> None:
    """Write a timeline to an ``.npz`` file, which appears only once it is complete.

    Spans are kept track by track and as differences from one to the next, which compress well.
    """
    grouped = timeline.table[np.argsort(timeline.column("track"), kind="stable")]
    about = {
        "names": timeline.names,
        "tracks": [asdict(track) for track in timeline.tracks],
        "deliveries": [asdict(delivery) for delivery in timeline.deliveries],
        "served": [asdict(served) for served in timeline.served],
        "origin": timeline.origin,
        "clock_error": timeline.clock_error,
        "machine": timeline.machine,
        "refusal": timeline.refusal,
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            steps=np.diff(grouped, axis=0, prepend=0).T,
            about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        )


def load_timeline(path: Path) -> Timeline:
    """Read back what ``save_timeline`` wrote."""
    with np.load(path) as arrays:
        grouped = np.cumsum(arrays["steps"].T, axis=0)
        about = json.loads(arrays["about"].tobytes())
    return Timeline(
        tuple(Track(t["name"], Place(t["place"]), t["rank"]) for t in about["tracks"]),
        Spans.of(about["names"], np.ascontiguousarray(grouped[np.argsort(grouped[:, 1], kind="stable")])),
        tuple(Delivery(**delivery) for delivery in about["deliveries"]),
        tuple(Served(**served | {"resumed": tuple(map(tuple, served["resumed"]))}) for served in about["served"]),
        *(about[name] for name in ("origin", "clock_error", "machine", "refusal")),
    )
