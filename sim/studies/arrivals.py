"""When the requests of an open workload arrive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scenarios.workload import Profile, Workload
from sim.studies.draws import draws

Seconds = npt.NDArray[np.float64]
Nanoseconds = npt.NDArray[np.int64]


def arrivals(workload: Workload, seed: int, count: int) -> Nanoseconds:
    """Arrival times of ``count`` requests of a workload with a ``rate``.

    They are made at rate 1 and then stretched: by the rate over time, and by ``rate_scale``. Another rate has the same
    arrivals, closer together, which is what makes two rates comparable with few requests.
    """
    assert workload.rate is not None
    unit = np.cumsum(_intervals(workload, seed, count))
    return scaled(_stretched(workload, unit), workload.rate_scale)


def mean_rate(workload: Workload, count: int) -> float:
    """Requests a second over the time in which so many are expected: a histogram or a ramp need not have gone round."""
    return count / float(_stretched(workload, np.array([float(count)]))[0]) * workload.rate_scale


def scaled(seconds: Seconds, rate_scale: float) -> Nanoseconds:
    """Nanoseconds of times that come ``rate_scale`` times as fast."""
    return np.asarray(np.rint(seconds * (1e9 / rate_scale)), dtype=np.int64)


def _intervals(workload: Workload, seed: int, count: int) -> Seconds:
    """Intervals between arrivals at rate 1."""
    if workload.arrivals == "constant":
        return np.ones(count)
    generator = draws(seed, "arrivals")
    if workload.burstiness is None:
        return generator.standard_exponential(count)
    return generator.standard_gamma(workload.burstiness, count) / workload.burstiness


def _stretched(workload: Workload, unit: Seconds) -> Seconds:
    """Seconds at which so many requests are expected to have come."""
    assert workload.rate is not None
    expected = unit / workload.rate
    if workload.profile is not None:
        return _by_profile(workload.profile, expected)
    if workload.ramp is not None:
        return _on_ramp(workload.ramp, expected)
    return expected


def _by_profile(profile: Profile, expected: Seconds) -> Seconds:
    """When as much time as ``expected`` has passed, each interval counting as much as requests come in it."""
    edges = np.arange(len(profile.counts) + 1) * (profile.every / 1e9)
    counts = np.array([0, *profile.counts], dtype=np.float64)
    share = np.cumsum(counts) * (edges[-1] / counts.sum())
    turns, rest = np.divmod(expected, edges[-1])
    piece = (np.searchsorted(share, rest, side="right") - 1).clip(max=len(edges) - 2)
    part = (rest - share[piece]) / (share[piece + 1] - share[piece])  # an empty interval is never found
    return np.asarray(turns * edges[-1] + edges[piece] + part * edges[1])


def _on_ramp(ramp: Sequence[tuple[int, float]], expected: Seconds) -> Seconds:
    """When as much time as ``expected`` has passed, weighted by a factor on straight lines through the ramp's pairs."""
    times = np.array([time for time, _ in ramp]) / 1e9
    factors = np.array([factor for _, factor in ramp])
    length = np.diff(times)
    area = np.append(0.0, np.cumsum(length * (factors[1:] + factors[:-1]) / 2))
    slope = np.append(np.diff(factors) / np.where(length > 0, length, 1.0), 0.0)
    piece = np.searchsorted(area, expected, side="right") - 1
    start, rise, left = factors[piece], slope[piece], expected - area[piece]
    # left = start * t + rise * t^2 / 2, solved in the form that does not lose digits
    root = np.sqrt(np.maximum(start * start + 2 * rise * left, 0.0))
    return np.asarray(times[piece] + 2 * left / np.where(start + root > 0, start + root, np.inf))
