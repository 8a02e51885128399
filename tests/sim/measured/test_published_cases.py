"""Published timings of pure mechanisms, on machines of which only these timings are known."""

import numpy as np
import pytest

from sim.effects import DEVICE, Effect, Launch, Loop, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Graph, Kernel
from sim.studies.micro import programs

SHORT = Kernel("short", "launch", 2900)

V100 = Constants(
    launch_call=3495,  # found on the 3.8: 20 calls, then the last kernel; published are 2 to 4us a call
    launch_latency=1000,  # published, about 1us from the call to the start
    wake_device=2205,  # found on the 9.6: what call, latency and kernel leave
    graph_launch_call=2000,  # published for CUDA 11 and before: 2us and 0.2us a node
    graph_launch_call_per_1000_nodes=200_000,
    graph_launch_latency=1000,  # as for a kernel
    graph_gap=229,  # as on an H200
)
"""Two numbers are found here, so two of the three timings are reproduced and the graph's is predicted."""


def test_20_kernels_of_2_9us_on_a_v100() -> None:
    costs = HostCosts(V100)
    synchronized = programs.chain(SHORT, 1).predict(costs) / 1000
    launched = programs.chain(SHORT, 20).predict(costs) / 20_000
    graph = programs.replay(Graph((SHORT,) * 20)).predict(costs) / 20_000
    assert synchronized == pytest.approx(9.6, rel=0.001)
    assert launched == pytest.approx(3.8, rel=0.001)
    assert graph == pytest.approx(3.4, rel=0.1)


def launch_times(num_streams: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How long each of 10000 launches of 190us took, dealt out to streams in turn; the call alone takes 4.5us."""
    kernel = Kernel("long", "launch", 190_000)
    effects: list[Effect] = [Launch([kernel], f"stream {i % num_streams}") for i in range(10_000)]

    def loop() -> Loop[None]:
        for effect in [*effects, Wait(DEVICE)]:  # noqa: UP028 - `yield from` a list would not take answers
            yield effect

    constants = Constants(launch_call=4500, queue_depth=1021)  # the depth as on an H200
    timeline = Machine(HostCosts(constants)).run({"main": loop()})
    return programs.lasting(programs.calls(timeline, "cudaLaunchKernel"))


def test_about_1000_launches_are_free_and_then_each_takes_as_long_as_a_kernel() -> None:
    times = launch_times(1)
    first = int(np.argmax(times > 10_000))
    assert first == pytest.approx(1000, rel=0.1)
    assert set(times[:first]) == {4500}
    assert np.median(times[first:]) == pytest.approx(190_000, rel=0.1)


def test_three_streams_have_three_launch_queues() -> None:
    one, three = (int(np.argmax(launch_times(n) > 10_000)) for n in (1, 3))
    assert three == pytest.approx(3 * one, rel=0.1)
