"""Requests as a chat service gets them: how many a second of CPU time, in how much memory, and the policy's share."""

from __future__ import annotations

import resource
from dataclasses import replace
from time import process_time

import pytest
from conftest import Told
from pytest_benchmark.fixture import BenchmarkFixture

from scenarios.loader import load_scenario
from sim.serving.policies import POLICIES, Budget, Plan, Queues
from sim.studies.serving import ServingRun

RATE = 14  # requests a second on average: in its busiest minute the trace asks for half as many again


@pytest.mark.parametrize("count", [10_000, 100_000, 1_000_000])
def test_requests_a_second(
    benchmark: BenchmarkFixture, count: int, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    changes = (f"workload.requests={count}", f"workload.rate={RATE}/s")
    run = replace(ServingRun.of(load_scenario("azure-conversation", changes)), machine="fast")
    policy, spent = POLICIES["prefill-first"], 0.0

    def timed(queues: Queues, budget: Budget) -> Plan:
        nonlocal spent
        began = process_time()
        plan = policy(queues, budget)
        spent += process_time() - began
        return plan

    monkeypatch.setitem(POLICIES, "prefill-first", timed)
    began = process_time()
    timeline = benchmark.pedantic(  # type: ignore[no-untyped-call]
        run.timeline, ("overlap-graph",), {"spans": False}, rounds=1
    )
    seconds = process_time() - began
    assert len(timeline.served) == count
    mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told(
        f"{count:,} requests like azure-conversation's, {len(timeline.deliveries):,} steps",
        f"{seconds:.1f} s, {count / seconds:,.0f} requests/s",
        f"{spent:.2f} s in the policy, {mebibytes:,} MiB at most",
        "60 s, 2,048 MiB" if count == 1_000_000 else "",
    )  # fmt: skip
