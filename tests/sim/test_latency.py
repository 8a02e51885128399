"""What clients see, told from few columns, against a load generator that stamps every token of every request."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.loader import load_scenario
from sim.effects import Outputs
from sim.serving.batch import Batch
from sim.serving.source import RequestSource
from sim.studies.serving import ServingRun
from sim.timeline.latency import Latencies
from sim.timeline.load import load_metrics
from sim.timeline.spans import Timeline
from sim.timeline.weighted import Weighted


@dataclass
class LoadGenerator:
    """Notes when each token of each request comes, and computes what ``vllm bench serve`` prints, by its formulas.

    Its ``calculate_metrics`` goes through the requests one by one: TTFT is the first stamp less the sending, ``itl``
    the list of the differences of stamps, latency the last stamp less the sending, TPOT (latency - TTFT) / (tokens - 1)
    of outputs of more than one token; then ``np.percentile`` over the lists. Goodput counts requests within all limits.
    """

    sent: dict[int, int] = field(default_factory=dict)
    stamps: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, source: Any) -> RequestSource:
        take, react = source.take, source.react

        def taking(now: int) -> Any:
            found = take(now)
            self.sent |= {request.id: request.arrival for request in found}
            return found

        def reacting(outputs: Outputs, now: int) -> None:
            for number in receivers(outputs.batch):
                self.stamps[number].append(now)
            react(outputs, now)

        source.take, source.react = taking, reacting
        watched: RequestSource = source
        return watched

    def metrics(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = defaultdict(list)
        for number, stamps in self.stamps.items():
            ttft, latency = stamps[0] - self.sent[number], stamps[-1] - self.sent[number]
            found["ttft"].append(ttft)
            found["e2e"].append(latency)
            found["itl"] += [b - a for a, b in pairwise(stamps)]
            if len(stamps) > 1:
                found["tpot"].append((latency - ttft) / (len(stamps) - 1))
        return found


def receivers(batch: Batch) -> list[int]:
    """Who gets a token of a batch: its rows, but for prompts that go on and rows of those who had stopped."""
    dropped = {*batch.late, *(chunk.request.id for chunk in batch.prompts if not chunk.output)}
    return [request.id for request in batch.members if request.id not in dropped]


def generated(mode: str, seed: int, *overrides: str) -> tuple[Timeline, LoadGenerator]:
    """A run of the tiny model one step at a time, so that the load generator sees every one of them."""
    sets = ["model=tiny", "workload.rate=4000/s", "workload.requests=12", "workload.context=20", *overrides]
    generator = LoadGenerator()

    class Watched(ServingRun):
        def requests(self) -> RequestSource:
            return generator.watch(super().requests())

    loaded = load_scenario("decode-qwen3-0.6b", ["workload.output_tokens=9", "engine.max_batch=12", *sets])
    return Watched.of(loaded, seed, "reference").timeline(mode), generator


knobs = st.lists(
    st.sampled_from(
        (
            "workload.stop_share=0.5",
            "engine.late_stop_length=true",
            "engine.max_batch=3",
            "engine.token_budget=25",
            "engine.batching=decode-first",
            "engine.batching=mixed",
            "engine.chunked_prefill=true",
            "workload.rate=100000/s",
            "workload.output_tokens=1",
            "engine.preset=vllm-v0-multistep",
            "host.scale=0",
        )
    ),
    unique=True,
)


@settings(max_examples=25)
@given(st.sampled_from(("serial-eager", "overlap-graph")), st.integers(0, 9), knobs)
def test_every_statistic_is_the_load_generators(mode: str, seed: int, overrides: list[str]) -> None:
    timeline, generator = generated(mode, seed, *overrides)
    found, expected = Latencies.of(timeline), generator.metrics()
    for metric in ("ttft", "tpot", "itl", "e2e"):
        values = expected[metric]
        assert getattr(found, metric).count == len(values)
        for name in ("p50", "p90", "p99") if values else ():
            assert found.statistic(metric, name) == pytest.approx(np.percentile(values, int(name[1:])))
        assert found.statistic(metric, "mean") == (pytest.approx(np.mean(values)) if values else None)


@settings(max_examples=15)
@given(st.sampled_from(("serial-eager", "overlap-graph")), st.integers(0, 9), st.integers(4, 7))
def test_a_preempted_request_waits_for_its_next_token(mode: str, seed: int, blocks: int) -> None:
    """Contexts of 20 tokens grow by 20, from two blocks of 16 to three, of which there are too few."""
    grow = ("engine.kv_reservation=grow", f"engine.kv_blocks={blocks}", "workload.rate=100000/s")
    timeline, generator = generated(mode, seed, *grow, "workload.output_tokens=20", "engine.watermark=0")
    found, values = Latencies.of(timeline), generator.metrics()["itl"]
    assert any(served.resumed for served in timeline.served)
    assert found.itl.count == len(values)
    for name in ("p50", "p90", "p99"):
        assert found.statistic("itl", name) == pytest.approx(np.percentile(values, int(name[1:])))
    assert found.statistic("itl", "mean") == pytest.approx(np.mean(values))
    assert load_metrics(timeline)["preemptions"] == sum(len(served.resumed) for served in timeline.served)


@settings(max_examples=15)
@given(st.integers(0, 9), knobs, st.integers(0, 10**6), st.integers(0, 10**5))
def test_goodput_counts_requests_within_all_limits(seed: int, overrides: list[str], ttft: int, tpot: int) -> None:
    timeline, generator = generated("serial-graph", seed, *overrides)
    good = 0
    for number, stamps in generator.stamps.items():
        interval = (stamps[-1] - stamps[0]) / (len(stamps) - 1) if len(stamps) > 1 else 0
        good += stamps[0] - generator.sent[number] <= ttft and interval <= tpot
    assert Latencies.of(timeline).good({"ttft": ttft, "tpot": tpot}).sum() == good


def test_queue_time_ends_with_the_schedule_that_takes_a_request_in() -> None:
    timeline, _ = generated("serial-graph", 0, "engine.max_batch=1", "workload.rate=100000/s")
    found = Latencies.of(timeline)
    schedules = timeline.table[timeline.column("name") == timeline.names.index("schedule")]
    assert set(found.scheduled.tolist()) <= set(schedules[:, 2].tolist())
    order = np.argsort(found.scheduled)
    assert (found.scheduled[order][1:] > found.last[order][:-1]).all()  # one at a time: the next after the last's end
    assert (found.scheduled < found.first).all()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4)), min_size=1), st.floats(0, 1))
def test_a_weighted_distribution_is_the_one_written_out(pairs: list[tuple[int, int]], share: float) -> None:
    values, times = np.array(pairs).T
    written = np.repeat(values, times)
    found = Weighted.of(values, times)
    assert found.count == len(written)
    if len(written):
        assert found.mean == pytest.approx(written.mean())
        assert found.quantile(share) == pytest.approx(np.quantile(written, share))


@pytest.mark.parametrize(("waiting", "saturated"), [(2, False), (3, True)])
def test_more_than_a_tenth_of_those_before_the_last_arrivals_may_not_wait(waiting: int, *, saturated: bool) -> None:
    """Twenty requests, and two more at 100 that nobody can have answered by then."""
    arrival = np.array([0] * 20 + [100] * 2)
    first = np.array([50] * (20 - waiting) + [150] * (waiting + 2))
    found = Latencies(arrival, arrival, first, first, np.ones(22, np.int64), Weighted.of(np.empty(0)))
    assert found.saturated is saturated
