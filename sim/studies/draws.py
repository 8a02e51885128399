"""What a workload draws at random, keyed so that one draw never moves another."""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from scenarios.lengths import ByContext, Empirical, Lengths, Lognormal, OutputLengths, Uniform

Purpose = Literal["arrivals", "context", "output", "stop", "position", "spread", "group"]
PURPOSES: tuple[Purpose, ...] = ("arrivals", "context", "output", "stop", "position", "spread", "group")
Shares = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int64]


def draws(seed: int, purpose: Purpose) -> np.random.Generator:
    """A generator of its own for each seed and purpose: request i has the same draws whatever else is drawn."""
    return np.random.Generator(np.random.Philox(key=(seed, PURPOSES.index(purpose))))


def prompts(lengths: Lengths, seed: int, count: int) -> Tokens:
    """Tokens of so many prompts."""
    return _tokens(lengths, draws(seed, "context").random(count))


def outputs(lengths: OutputLengths, seed: int, contexts: Tokens) -> Tokens:
    """Tokens of the outputs to these prompts."""
    shares = draws(seed, "output").random(len(contexts))
    if not isinstance(lengths, ByContext):
        return _tokens(lengths, shares)
    found = np.empty(len(contexts), dtype=np.int64)
    ends = np.array([one.up_to for one in lengths.ranges])
    place = np.searchsorted(ends, contexts).clip(max=len(ends) - 1)
    for number, one in enumerate(lengths.ranges):
        here = place == number
        found[here] = _tokens(Empirical(kind="empirical", quantiles=one.quantiles), shares[here])
    return found


def _tokens(lengths: Lengths, shares: Shares) -> Tokens:
    """Lengths at these shares of a distribution, by its inverse."""
    if isinstance(lengths, int):
        return np.full(len(shares), lengths, dtype=np.int64)
    if isinstance(lengths, Uniform):
        return lengths.low + (shares * (lengths.high - lengths.low + 1)).astype(np.int64)
    if isinstance(lengths, Lognormal):
        normal = NormalDist(0, 1)
        deviates = np.array([normal.inv_cdf(max(share, 2.0**-53)) for share in shares.tolist()])
        found = np.rint(lengths.median * np.exp(lengths.sigma * deviates))
        return np.asarray(found.clip(1, lengths.most), dtype=np.int64)
    at, tokens = zip(*lengths.quantiles, strict=True)
    return np.asarray(np.rint(np.interp(shares, at, tokens)), dtype=np.int64)
