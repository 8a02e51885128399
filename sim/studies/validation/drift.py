"""How far a host's costs drifted while a suite was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from sim.studies.table import time

LEAST_NS = 1000
"""Below it a ratio says nothing: what drifts from 1 ns to 229 ns drifts by 228 ns."""


def host_ranges(numbers: Iterable[Mapping[str, int]]) -> dict[str, tuple[int, int]]:
    """The smallest and the largest value (ns) of each of a host's numbers over all configurations.

    Shares of rows, tokens and prompts are left out: slopes of a few nanoseconds, which may well be 0 in one of them.
    """
    found: dict[str, list[int]] = {}
    for one in numbers:
        for name, ns in one.items():
            if "_per_" not in name:
                found.setdefault(name, []).append(ns)
    return {name: (min(values), max(values)) for name, values in found.items()}


def drift_sentence(ranges: Mapping[str, tuple[int, int]]) -> str:
    """The cost that drifted most, as a range, and what all of them did in the median; no cost counts as under 1 us."""
    ratios = {name: max(1.0, high / max(low, LEAST_NS)) for name, (low, high) in ranges.items()}
    worst = max(ratios, key=lambda name: ratios[name])
    low, high = (time(ns / 1000) for ns in ranges[worst])
    return (
        f"host costs between configurations: the largest is {median(ratios.values()):.2f} times the smallest in the"
        f" median, most of all {worst}, {low} to {high}"
    )
