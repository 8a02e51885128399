"""The highest rate that each mode of a server sustains under an SLO, on the same requests at every rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from scenarios.errors import Problem, Refusal, ScenarioError
from sim.studies.arrivals import mean_rate
from sim.studies.capacity.search import Bracket, close_in
from sim.studies.capacity.slo import Bound
from sim.studies.replications import combined
from sim.studies.servers import timelines
from sim.studies.serving import ServingRun
from sim.timeline.latency import Latencies
from sim.timeline.load import load_metrics

Progress = Callable[[str], None]
CURVE = (0.25, 0.5, 0.7, 0.85, 0.95, 1.05, 1.2)
"""Shares of the sustained rate at which a curve is drawn, beside the rates that the search has tried."""
LONG_ENOUGH = 5
"""A run takes at least so many times as long as a request in it, or it ends before the server has filled up."""


@dataclass(frozen=True, slots=True)
class Point:
    """A server at one rate (requests a second; 0: each request alone): the numbers of each draw, and their means."""

    rate: float
    draws: tuple[dict[str, Any], ...]
    numbers: dict[str, Any]

    @classmethod
    def of(cls, rate: float, draws: Sequence[dict[str, Any]]) -> Point:
        """The point of so many draws."""
        return cls(rate, tuple(draws), combined(draws))

    def broken(self, slo: Sequence[Bound]) -> list[Bound]:
        """The bounds that the means over the draws break."""
        return [bound for bound in slo if not bound.kept(self.numbers)]

    def holds(self, slo: Sequence[Bound]) -> bool:
        """Whether the server keeps up, and all bounds."""
        return not self.numbers["saturated"] and not self.broken(slo)

    def num_holding(self, slo: Sequence[Bound]) -> int:
        """Draws in which it does."""
        return sum(not d["saturated"] and all(bound.kept(d) for bound in slo) for d in self.draws)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one mode sustains. ``alone`` is every request by itself: what breaks the SLO there, no lower rate mends."""

    slo: tuple[Bound, ...]
    bracket: Bracket
    alone: Point
    points: tuple[Point, ...]
    gpus_each: int = 1

    def at(self, rate: float) -> Point:
        """The point at a rate that was tried."""
        return next(point for point in self.points if point.rate == rate)

    def gpus(self, target: float) -> tuple[int, int] | None:
        """GPUs of as many equal fleets as carry a rate, each its share: enough, and perhaps enough; None: never."""
        if not self.bracket.low:
            return None
        enough, perhaps = (max(1, ceil(target / rate)) for rate in (self.bracket.low, self.bracket.high))
        return self.gpus_each * enough, self.gpus_each * perhaps

    @property
    def reason(self) -> str:
        """What gives way first above the bracket, or, where nothing is sustained, at the lowest rate there is."""
        if self.bracket.high == float("inf"):
            return "nothing gives way: so few requests never fill the server"
        point = self.at(self.bracket.high) if self.points else self.alone
        if point.numbers["saturated"]:
            return "requests queue up without end"
        found = ", ".join(f"{b.name} {point.numbers[b.key] / 1000:,.4g} ms" for b in point.broken(self.slo))
        if not point.rate:
            return f"{found} for a request that is served alone"
        together = "" if self.bracket.low else ", where those that arrive at one instant still do"
        return f"{found} at {point.rate:,.4g}/s{together}"

    @property
    def too_short(self) -> int | None:
        """How many requests a run should have had whose arrivals end before the server is full; None: enough."""
        if not self.bracket.low:
            return None
        numbers = self.at(self.bracket.low).numbers
        needed = ceil(LONG_ENOUGH * self.bracket.low * numbers["e2e_mean_us"] / 1e6)
        return needed if needed > numbers["served"] else None


@dataclass
class CapacityStudy:
    """A run, an SLO, and how closely to look: with as many draws of the workload, until the bracket is narrow."""

    run: ServingRun
    slo: tuple[Bound, ...]
    replications: int = 3
    precision: float = 0.03
    progress: Progress = lambda _: None
    natural: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        workload = self.run.scenario.workload
        if workload.rate is None and workload.trace is None:
            form = "batch" if workload.batch is not None else "clients"
            message = Refusal(form, "'rate' or 'trace': only requests that come on their own have a rate").message
            raise ScenarioError([Problem(self.run.source, "workload", message)])
        self.natural = self._rate_of_trace() if workload.rate is None else mean_rate(workload, workload.requests or 1)

    def _rate_of_trace(self) -> float:
        """Requests a second of the trace as the scenario runs it."""
        requests = self.run.requests().take(1 << 62)
        span = requests[-1].arrival - requests[0].arrival
        if not span:
            message = "its requests arrive at one instant, expected some time between them to scale"
            raise ScenarioError([Problem(self.run.source, "workload.trace", message)])
        return (len(requests) - 1) * 1e9 / span

    def of(self, mode: str, start: float | None = None, *, curve: bool = False) -> Capacity:
        """The capacity of one mode; the search begins at ``start``, or where the server serves all as fast as it can.

        Raises ``ScenarioError`` for a workload that the server cannot serve at all.
        """
        scenario = self.run.scenario
        alone, gpus = self.point(mode, 0.0), scenario.replicas.count * scenario.tensor_parallel.ranks
        if not alone.holds(self.slo):
            return Capacity(self.slo, Bracket(0.0, 0.0), alone, (), gpus)
        points: dict[float, Point] = {}

        def holds(rate: float) -> bool:
            points[rate] = self.point(mode, rate)
            return points[rate].holds(self.slo)

        bracket = close_in(holds, start or self._flat_out(mode) / 2, self.precision)
        for share in CURVE if curve and bracket.low else ():
            points.setdefault(bracket.low * share, self.point(mode, bracket.low * share))
        return Capacity(self.slo, bracket, alone, tuple(points[rate] for rate in sorted(points)), gpus)

    def point(self, mode: str, rate: float) -> Point:
        """The server at one rate; 0 serves each request of the first draw alone."""
        draws, count = [], self.replications if rate else 1
        for draw in range(count):
            at = f"{rate:,.4g} requests/s, draw {draw + 1} of {count}" if rate else "each request alone"
            self.progress(f"{mode}, {at}")
            draws.append(self._numbers(mode, rate, self.run.seed + draw))
        return Point.of(rate, draws)

    def _numbers(self, mode: str, rate: float, seed: int) -> dict[str, Any]:
        scale = self.run.scenario.workload.rate_scale
        changed = self.run.with_workload(rate_scale=scale * rate / self.natural) if rate else self.run
        servers = timelines(replace(changed, seed=seed, alone=not rate), mode, spans=False)
        served = sum(len(one.served) for one in servers)
        found = Latencies.of(*servers).as_json() | load_metrics(*servers) | {"served": served}
        return found if rate else found | {"saturated": False}

    def _flat_out(self, mode: str) -> float:
        """Requests a second when all are there from the start."""
        self.progress(f"{mode}, everything at once")
        found: float = self._numbers(mode, self.natural * 1e9, self.run.seed)["requests_per_s"]
        return found
