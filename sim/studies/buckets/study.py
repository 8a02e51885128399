"""Choosing buckets for a workload, and judging lists by simulating it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from scenarios.errors import Problem, ScenarioError
from scenarios.model import ModelShape
from sim.serving.buckets import Buckets
from sim.studies.buckets.choice import Choice, choose, total_ns
from sim.studies.buckets.memory import GraphMemory
from sim.studies.serving import ServingRun
from sim.studies.step_prices import StepPrices
from sim.timeline.latency import Latencies
from sim.timeline.spans import Timeline

AT_THE_END_OF_TIME = 1 << 62


@dataclass(frozen=True, slots=True)
class Demand:
    """What a workload asks of the graphs: decode steps by their rows, and the mean context of a row.

    Every number of rows that the engine allows counts once more than it was seen: a list is for what comes next.
    """

    steps: Mapping[int, int]
    context: float


@dataclass(frozen=True, slots=True)
class Limit:
    """What a list may take: ``graphs`` of them, ``memory`` in bytes; None is no limit."""

    graphs: int | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A list and what the simulated workload made of it; times in nanoseconds.

    ``padding`` is the share of replayed rows that only fill buckets, ``eager`` the share of decode steps above the
    largest bucket. ``tpot_mean`` is over requests; ``makespan`` from the first arrival to the last delivery.
    """

    name: str
    buckets: tuple[int, ...]
    memory: int
    padding: float
    eager: float
    tpot_mean: float
    tpot_p99: float
    makespan: int
    machine: str

    def as_json(self) -> dict[str, Any]:
        """Microseconds and bytes."""
        return {
            "list": self.name,
            "buckets": list(self.buckets),
            "graphs": len(self.buckets),
            "memory_bytes": self.memory,
            "padding": round(self.padding, 6),
            "eager_steps": round(self.eager, 6),
            "tpot_mean_us": round(self.tpot_mean / 1000, 3),
            "tpot_p99_us": round(self.tpot_p99 / 1000, 3),
            "makespan_us": self.makespan / 1000,
            "machine": self.machine,
        }


class BucketStudy:
    """Lists for one mode of a serving scenario; ``a_graph`` are the bytes that one captured graph holds, if known."""

    def __init__(self, run: ServingRun, mode: str, a_graph: int | None = None) -> None:
        if not isinstance(run.model, ModelShape):
            raise ScenarioError([Problem(run.source, "model", "found a timer, expected a model whose steps have rows")])
        self.run = run
        self.mode = mode
        self.demand = demand_of(run, run.timeline(mode, spans=False))
        self.prices = StepPrices(run, mode, self.demand.context)
        self.memory = GraphMemory.of(run.model, self.prices.nodes(), a_graph)

    def choose(self, limit: Limit) -> Choice:
        """The best list within a limit; raises ``ScenarioError`` when no graph fits into it."""

        def fits(graphs: int, largest: int) -> bool:
            return limit.memory is None or self.memory.held(graphs, largest) <= limit.memory

        found = choose(self.demand.steps, self.prices, graphs=limit.graphs, fits=fits)
        if found is None:
            least = self.memory.held(1, 1) / 2**20
            message = f"found less than one graph of one row holds, expected at least {least:.2f}MiB"
            raise ScenarioError([Problem("--memory", "", message)])
        return found

    def predicted_ns(self, buckets: tuple[int, ...]) -> int:
        """Time of all decode steps of the workload with a list, by the prices that the choice is made with."""
        return total_ns(self.demand.steps, self.prices, buckets)

    def judge(self, name: str, buckets: tuple[int, ...], on: ServingRun) -> Judged:
        """Simulate ``on``, another part of the workload as a rule, with a list."""
        timeline = replace(on, buckets=buckets).timeline(self.mode, spans=False)
        return judged(name, buckets, self.memory.of_list(buckets), timeline)


def demand_of(run: ServingRun, timeline: Timeline) -> Demand:
    """Rows of the decode steps that were run, and the mean context by the requests' tokens."""
    steps = Counter(d.rows for d in timeline.deliveries if not d.prefill)
    if not steps:
        raise ScenarioError([Problem(run.source, "workload", "decodes nothing: no step has rows to find a bucket for")])
    requests = run.requests().take(AT_THE_END_OF_TIME)
    tokens = sum(r.max_tokens for r in requests)
    steps.update(range(1, max(run.engine.max_batch, *steps) + 1))
    return Demand(steps, sum(r.max_tokens * (r.context + r.max_tokens / 2) for r in requests) / tokens)


def judged(name: str, buckets: tuple[int, ...], memory: int, timeline: Timeline) -> Judged:
    """What a simulated workload made of a list."""
    fit: Callable[[int], int | None] = Buckets(buckets).fit
    steps = Counter(d.rows for d in timeline.deliveries if not d.prefill)
    replayed = {rows: count for rows, count in steps.items() if fit(rows) is not None}
    filled = sum(rows * count for rows, count in replayed.items())
    padded = sum((fit(rows) or 0) * count for rows, count in replayed.items())
    seen = Latencies.of(timeline)
    return Judged(
        name,
        buckets,
        memory,
        padding=1 - filled / padded if padded else 0.0,
        eager=1 - sum(replayed.values()) / steps.total(),
        tpot_mean=seen.statistic("tpot", "mean") or 0.0,
        tpot_p99=seen.statistic("tpot", "p99") or 0.0,
        makespan=timeline.deliveries[-1].time - min(s.arrival for s in timeline.served),
        machine=timeline.machine,
    )
