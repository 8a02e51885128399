"""The fast machine beside the reference in the same minute: kernels, iterations and requests a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import process_time

import pytest
from conftest import Told
from pytest_benchmark.fixture import BenchmarkFixture

from scenarios.loader import load_scenario
from sim.effects import DEVICE, Launch, Loop, Wait
from sim.fast.machine import FastMachine
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Kernel
from sim.studies.serving import ServingRun

CONSTANTS = Constants(launch_call=4_335, launch_latency=2_500, stream_gap=1_120, wake_device=4_900)
TRAIN = (Kernel("add", "add", 896),) * 400
NUM_PAIRS = 3


def trains(count: int) -> Loop[None]:
    for _ in range(count):
        yield Launch(TRAIN, "main")
    yield Wait(DEVICE)


def seconds(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began


@pytest.mark.parametrize("detail", ["times alone", "spans recorded", "spans read"])
def test_kernels_a_second(benchmark: BenchmarkFixture, detail: str, told: Told) -> None:
    """Trains of 400 kernels: times alone, spans that are written when somebody reads them, and spans that are read."""
    costs = HostCosts(CONSTANTS, {"add": 1_915})
    slow, quick = 50, 2_000

    def simulated(machine: Machine | FastMachine, count: int) -> object:
        timeline = machine.run({"host": trains(count)})
        return timeline.table if detail == "spans read" else timeline

    def fast() -> object:
        return simulated(FastMachine(costs, spans=detail != "times alone"), quick)

    benchmark.pedantic(fast, rounds=NUM_PAIRS)  # type: ignore[no-untyped-call]
    reference = [seconds(lambda: simulated(Machine(costs), slow)) / slow for _ in range(NUM_PAIRS)]
    ours = [seconds(fast) / quick for _ in range(NUM_PAIRS)]
    ratio, pace = median(reference) / median(ours), len(TRAIN) / median(ours)
    goal = "" if detail == "spans read" else "300 times"
    told(f"kernel trains, {detail}", f"{pace / 1e6:.1f} million kernels/s", f"{ratio:.0f} times the reference", goal)


@pytest.mark.parametrize("spans", [True, False], ids=["spans", "summary"])
@pytest.mark.parametrize("mode", ["serial-eager", "serial-graph", "overlap-eager", "overlap-graph"])
@pytest.mark.parametrize(
    ("load", "settings"),
    [
        ("batch of 16", ["workload.output_tokens=400"]),
        ("8 requests/s", ["workload.rate=8/s", "workload.requests=40", "workload.output_tokens=200"]),
    ],
)
def test_iterations_and_requests_a_second(
    benchmark: BenchmarkFixture, load: str, settings: list[str], mode: str, spans: bool, told: Told
) -> None:
    run = ServingRun.of(load_scenario("decode-llama-3.1-8b", settings))
    reference, fast = replace(run, machine="reference"), replace(run, machine="fast")
    expected = reference.timeline(mode)
    assert fast.timeline(mode, spans=spans).deliveries == expected.deliveries

    def ours_at(detail: bool) -> object:
        timeline = fast.timeline(mode, spans=detail)
        return timeline.table if detail else timeline  # spans are written when they are read

    benchmark.pedantic(ours_at, (spans,), rounds=NUM_PAIRS)  # type: ignore[no-untyped-call]
    pairs = [
        (seconds(lambda: reference.timeline(mode).table), seconds(lambda: ours_at(spans))) for _ in range(NUM_PAIRS)
    ]
    ratio, ours = median(slow / quick for slow, quick in pairs), median(quick for _, quick in pairs)
    iterations, requests = len(expected.deliveries) / ours, len(expected.served) / ours
    goal = {("serial-eager", False): "100 times", ("overlap-graph", True): "10 times"}.get((mode, spans), "")
    told(
        f"{load}, {mode}, {'spans read' if spans else 'times alone'}",
        f"{iterations:,.0f} steps/s, {requests:,.0f} requests/s", f"{ratio:.0f} times the reference", goal,
    )  # fmt: skip
