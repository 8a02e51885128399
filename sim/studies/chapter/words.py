"""Numbers as the claims' sentences write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sim.studies.table import time
from sim.studies.validation.shipped import MeasuredMode, MeasuredScenario


def listed(items: Mapping[str, str] | Iterable[str]) -> str:
    """Such as ``0.6B 2.48 ms, 8B 5.68 ms``."""
    if isinstance(items, Mapping):
        return ", ".join(f"{name} {value}" for name, value in items.items())
    return ", ".join(items)


def beside(predicted: Mapping[str, float], measured: MeasuredScenario | None) -> tuple[str, tuple[float, ...]]:
    """What was measured of some modes (predictions in microseconds), and the errors; "" where nothing was.

    The errors are those of predictions with the costs that the host had at that moment, where these were taken.
    """
    found = {mode: measured.modes[mode].us for mode in predicted if measured and mode in measured.modes}
    if not found:
        return "", ()
    told = listed({mode: time(us) for mode, us in found.items()})
    return told, tuple(error(predicted[mode], measured.modes[mode]) for mode in found if measured)


def error(predicted_us: float, measured: MeasuredMode) -> float:
    """How far off a prediction is, as a share, on the host that measured."""
    return abs(on_that_host(predicted_us, measured) / measured.us - 1)


def on_that_host(predicted_us: float, measured: MeasuredMode) -> float:
    """The prediction (us) with the costs that the host had at that moment, where these were taken."""
    return predicted_us if measured.in_process_us is None else measured.in_process_us
