"""Cases that say only what a test is about; times in nanoseconds."""

from __future__ import annotations

from typing import Any

from sim.studies.noise import noise
from sim.studies.validation.results_file import Case, Parts


def case(mode: str, predicted: int, measured: list[int], /, **changes: Any) -> Case:
    """A case of a server unless ``quantity`` says otherwise; ``noise_ns`` follows from the measurements."""
    fields = {
        "name": f"world {mode}",
        "scenario": "world",
        "set": (),
        "mode": mode,
        "quantity": "step",
        "predicted_ns": predicted,
        "predicted_in_process_ns": None,
        "measured_ns": tuple(measured),
        "noise_ns": round(noise(measured)),
        "in_process": {},
        "parts": Parts(host_ns=20, launch_ns=30, device_ns=50),
        "digest": "none",
    }
    return Case(**{**fields, **changes})
