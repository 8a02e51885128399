"""What clients were promised: bounds on statistics of their latencies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scenarios.errors import Problem, Refusal, ScenarioError, listed
from scenarios.units import parse_duration
from sim.timeline.latency import METRICS, STATISTICS

EXAMPLE = "conditions such as 'ttft_p99<500ms,tpot_p99<40ms'"
_FORM = re.compile(r"([a-z0-9]+)_([a-z0-9]+)\s*<=?\s*(.+)")


@dataclass(frozen=True, slots=True)
class Bound:
    """A statistic of a metric, such as ``ttft`` and ``p99``, and the most it may be (ns)."""

    metric: str
    statistic: str
    limit: int

    @property
    def key(self) -> str:
        """What the numbers of a run call it."""
        return f"{self.metric}_{self.statistic}_us"

    @property
    def name(self) -> str:
        """As it is written: ``ttft_p99``."""
        return f"{self.metric}_{self.statistic}"

    def kept(self, numbers: Mapping[str, Any]) -> bool:
        """Whether a run keeps it; a statistic of nothing, such as the TPOT of single tokens, breaks no bound."""
        value = numbers[self.key]
        return value is None or value * 1000 <= self.limit


def parse_slo(text: str) -> tuple[Bound, ...]:
    """Bounds separated by commas; raises ``ScenarioError`` for a text that is none."""
    bounds, problems = [], []
    for part in text.split(","):
        try:
            bounds.append(_bound(part.strip()))
        except ValueError as error:
            problems.append(Problem("--slo", "", str(error)))
    if problems:
        raise ScenarioError(problems)
    return tuple(bounds)


def _bound(text: str) -> Bound:
    match = _FORM.fullmatch(text)
    if match is None:
        raise Refusal(text, EXAMPLE)
    metric, statistic, limit = match.groups()
    if metric not in METRICS:
        raise Refusal(metric, f"one of {listed(METRICS)} before the _")
    if statistic not in STATISTICS:
        raise Refusal(statistic, f"one of {listed(STATISTICS)} after the _")
    return Bound(metric, statistic, parse_duration(limit))
