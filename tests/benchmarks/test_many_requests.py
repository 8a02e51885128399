"""Requests as a chat service gets them: how many a second, in how much memory, and the policy's own share."""

from __future__ import annotations

import resource
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from time import perf_counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scenarios.loader import load_scenario
from sim.serving.policies import POLICIES, Budget, Plan, Queues
from sim.studies.serving import ServingRun

RATE = 20  # requests a second: an 8B model on one H200 is below saturation
EPOCH = datetime(2024, 1, 1)  # noqa: DTZ001  the stamps carry no zone


def write_trace(path: Path, count: int) -> None:
    """Lognormal prompts and outputs of about 1,200 and 210 tokens in the mean; no trace was fitted."""
    random, now = Random(1), 0.0
    with path.open("w") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for _ in range(count):
            now += random.expovariate(RATE)
            stamp = EPOCH + timedelta(seconds=int(now))
            prompt = min(8_000, round(random.lognormvariate(6.75, 0.85)) + 1)
            output = min(1_500, round(random.lognormvariate(4.9, 0.95)) + 1)
            file.write(f"{stamp:%Y-%m-%d %H:%M:%S}.{int(now % 1 * 1e7):07d},{prompt},{output}\n")


@pytest.mark.parametrize("count", [10_000, 100_000, 1_000_000])
def test_requests_a_second(
    benchmark: BenchmarkFixture, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace.csv"
    write_trace(trace, count)
    run = replace(ServingRun.of(load_scenario("decode-llama-3.1-8b", [f"workload.trace={trace}"])), machine="fast")
    policy, spent = POLICIES["prefill-first"], 0.0

    def timed(queues: Queues, budget: Budget) -> Plan:
        nonlocal spent
        began = perf_counter()
        plan = policy(queues, budget)
        spent += perf_counter() - began
        return plan

    monkeypatch.setitem(POLICIES, "prefill-first", timed)
    timeline = benchmark.pedantic(  # type: ignore[no-untyped-call]
        run.timeline, ("overlap-graph",), {"spans": False}, rounds=1
    )
    assert len(timeline.served) == count
    seconds = benchmark.stats["mean"]
    mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(  # noqa: T201
        f"\n{count:,} requests in {len(timeline.deliveries):,} steps: {count / seconds:,.0f} requests and "
        f"{len(timeline.deliveries) / seconds:,.0f} iterations a second, "
        f"{spent:.2f} s of {seconds:.1f} s in the policy, {mebibytes:,} MiB at most"
    )
