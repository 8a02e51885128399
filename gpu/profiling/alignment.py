"""One clock for a host's spans and a profiler's trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpu.calibration.regression import theil_sen


class Marker(NamedTuple):
    """A moment that both clocks saw: the host's just before and just after it, and the trace's stamp (ns)."""

    before: int
    after: int
    stamp: int


@dataclass(frozen=True, slots=True)
class Clock:
    """Turns a trace's stamps into the host's time: ``offset`` at ``since``, and ``drift`` nanoseconds a nanosecond.

    ``error`` is by how much the turned times may be off, in nanoseconds.
    """

    since: int
    offset: int
    drift: float
    error: int

    def host(self, stamp: int) -> int:
        """The host's time of a stamp."""
        return stamp + self.offset + round(self.drift * (stamp - self.since))


def align(markers: Sequence[Marker]) -> Clock:
    """The clock that markers at the beginning and the end of a run ask for.

    Each marker bounds the offset between its two readings. The drift is the median slope over all pairs of markers;
    the offset is the middle of what all of them allow, and the error half of that width. Where no offset suits all,
    the error is half of what the furthest two of them are apart, plus half of the narrowest marker's width. Raises
    ``ValueError`` with fewer than two markers.
    """
    if len(markers) < 2:
        raise ValueError("two clocks are aligned by two markers or more")
    since = markers[0].stamp
    drift = theil_sen([(m.stamp - since, (m.before + m.after) / 2 - m.stamp) for m in markers]).slope
    shifts = [m.stamp + round(drift * (m.stamp - since)) for m in markers]
    least = max(m.before - shift for m, shift in zip(markers, shifts, strict=True))
    most = min(m.after - shift for m, shift in zip(markers, shifts, strict=True))
    error = (abs(most - least) + 1) // 2
    if most < least:
        error += min(m.after - m.before for m in markers) // 2
    return Clock(since, (least + most) // 2, drift, error)
