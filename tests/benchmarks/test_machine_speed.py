"""How many kernels a second the machine simulates, beside SimPy's own producer and consumer in the same minute."""

from __future__ import annotations

from collections.abc import Callable, Generator
from statistics import median
from time import perf_counter
from typing import Any

import pytest
import simpy
from conftest import Told
from pytest_benchmark.fixture import BenchmarkFixture

from sim.effects import DEVICE, Launch, Loop, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Graph, Kernel, Op, Replay
from sim.timeline.spans import Timeline

STEP = 400  # kernels
NUM_STEPS = 100
NUM_PAIRS = 9
NUM_ITEMS = 20_000
CONSTANTS = Constants(
    launch_call=4_335,
    launch_latency=2_500,
    stream_gap=1_120,
    wake_device=4_900,
    device_sync_call=5_990,
    graph_gap=235,
    graph_launch_call=2_700,
    graph_launch_latency=1_000,
)
ADD = Kernel("add", "add", 896)  # shorter than its launch: the host is the bottleneck


def steps(ops: list[Op]) -> Loop[None]:
    for _ in range(NUM_STEPS):
        yield Launch(ops, "main")
    yield Wait(DEVICE)


def simulate(ops: list[Op]) -> Timeline:
    return Machine(HostCosts(CONSTANTS, {"add": 1_915})).run({"host": steps(ops)})


def produce_and_consume() -> None:
    """SimPy alone: an item a timeout, handed through a store to a consumer that takes a timeout for each."""
    env = simpy.Environment()
    store = simpy.Store(env)
    consumed = 0

    def producer() -> Generator[simpy.Event, Any, None]:
        for item in range(NUM_ITEMS):
            yield env.timeout(6)
            yield store.put(item)

    def consumer() -> Generator[simpy.Event, Any, None]:
        nonlocal consumed
        for _ in range(NUM_ITEMS):
            yield store.get()
            yield env.timeout(2)
            consumed += 1

    env.process(producer())
    env.process(consumer())
    env.run()
    assert consumed == NUM_ITEMS


def seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


@pytest.mark.parametrize(
    ("ops", "num_calls"),
    [
        pytest.param([ADD] * STEP, STEP * NUM_STEPS, id="eager"),
        pytest.param([Replay("step", Graph((ADD,) * STEP))], NUM_STEPS, id="graph"),
    ],
)
def test_the_machine_simulates_kernels_faster_than_simpy_hands_over_items(
    benchmark: BenchmarkFixture, ops: list[Op], num_calls: int, told: Told, request: pytest.FixtureRequest
) -> None:
    timeline = simulate(ops)
    num_kernels = int(timeline.on_device.sum())
    assert num_kernels == STEP * NUM_STEPS
    assert len(timeline.table) == num_kernels + num_calls + 1

    benchmark.pedantic(simulate, args=(ops,), rounds=NUM_PAIRS)  # type: ignore[no-untyped-call]

    # Pairs taken in turn: a machine that is busy with something else slows both halves of a pair.
    pairs = [(seconds(lambda: simulate(ops)), seconds(produce_and_consume)) for _ in range(NUM_PAIRS)]
    ratio = median((num_kernels / ours) / (NUM_ITEMS / simpys) for ours, simpys in pairs)
    kernels_a_second = median(num_kernels / ours for ours, _ in pairs)
    told(
        f"the reference itself, {request.node.callspec.id}", f"{kernels_a_second:,.0f} kernels/s",
        f"{ratio:.2f} times SimPy's store", "1.5 times",
    )  # fmt: skip
    assert ratio >= 1.5
