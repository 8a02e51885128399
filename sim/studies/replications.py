"""One number from several draws of a stochastic run, and how far another set of draws might have put it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
RESAMPLES = 2_000
INTERVALS = ("tokens_per_s", "requests_per_s", "step_us", "goodput_per_s", "good_share")
"""Numbers that get an interval, beside all latencies."""


def resampled(replications: int) -> npt.NDArray[np.int64]:
    """Which replications each of the bootstrap's resamples draws: the same for all numbers, so that they stay pairs."""
    return np.random.default_rng(replications).integers(0, replications, (RESAMPLES, replications))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The percentile bootstrap's interval of a mean over replications (Efron and Tibshirani, 1993, chapter 13).

    Of few replications it is too narrow: of five 1.75 standard errors to each side, where Student's t has 2.78.
    """
    return _ends(np.asarray(values, dtype=np.float64)[resampled(len(values))].mean(axis=1))


def ratio_interval(over: Sequence[float], under: Sequence[float]) -> tuple[float, float]:
    """The interval of a ratio of means of paired replications, such as two modes on the same arrivals."""
    draws = resampled(len(over))
    above, below = (np.asarray(values, dtype=np.float64)[draws].mean(axis=1) for values in (over, under))
    return _ends(above / below)


def _ends(means: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def combined(draws: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers of several replications as one object: means, and the ``intervals`` of latencies and rates.

    What not all of them have is null, counts become means, and saturated is what most of them are.
    """
    if len(draws) == 1:
        return dict(draws[0])
    found = mean_of(draws)
    found["intervals"] = {
        name: [round(end, 3) for end in interval([draw[name] for draw in draws])]
        for name, value in found.items()
        if value is not None and (name in INTERVALS or name.split("_")[0] in ("ttft", "tpot", "itl", "e2e", "queue"))
    }
    return found


def mean_of(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several objects of numbers as one of means; null where one of them is."""
    return {name: _mean([one[name] for one in objects]) for name in objects[0]}


def _mean(values: Sequence[Any]) -> Any:
    if any(value is None for value in values):
        return None
    if isinstance(values[0], bool):
        return sum(values) * 2 > len(values)
    if isinstance(values[0], dict):
        return mean_of(values)
    if isinstance(values[0], list):
        return [_mean(each) for each in zip(*values, strict=True)]
    return round(float(np.mean(values)), 6)
