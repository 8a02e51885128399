"""Clients who wait for their answer before they ask again, on both virtual machines and in wall-clock time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_worlds import tiny_clients

from gpu.machines.emulated import EmulatedDevice
from gpu.machines.serving import LoweredServing
from sim.effects import DEVICE, Emit, Get, Launch, Loop, Put, Source, Wait, receive
from sim.fast.machine import FastMachine
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Kernel
from sim.serving.batch import Batch, Chunk, Outputs, Phase
from sim.serving.request import Reason, Request
from sim.serving.source import ClosedLoop
from sim.studies.serving import ServingRun
from sim.timeline.spans import Timeline

MODES = ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")


def closed_loop(clients: int, requests: int, think: str = "0s", *more: str) -> ServingRun:
    return ServingRun.of(tiny_clients(clients, requests, f"workload.think={think}", *more))


def served(request: int, now: int, *, of: ClosedLoop) -> tuple[int, ...]:
    """Finish a request at ``now`` and take what its client sends by then."""
    one = Request(request, 1, 1)
    batch = Batch(0, Phase.PREFILL, 1, 1, 0, (one,), prompts=(Chunk(one, 0, 1, 1),))
    of.react(Outputs(batch, 1, finished=((one, 1, Reason.LENGTH),)), now)
    return tuple(r.id for r in of.take(now))


def test_each_client_sends_its_next_request_a_think_after_its_last_one() -> None:
    source = ClosedLoop([Request(i, 10 + i, 1) for i in range(5)], None, clients=2, think=7)
    assert [(r.id, r.arrival) for r in source.take(0)] == [(0, 0), (1, 0)]
    assert [r.id for r in source.everything()] == [0, 1, 2, 3, 4]
    assert (source.next_arrival(), source.closed) == (None, False)
    assert served(1, 100, of=source) == ()
    assert source.next_arrival() == 107
    (third,) = source.take(107)
    assert (third.id, third.arrival, third.context) == (3, 107, 13)
    assert served(0, 200, of=source) == ()
    assert [r.id for r in source.take(207)] == [2]
    assert served(3, 300, of=source) == ()
    assert (source.next_arrival(), source.closed) == (None, False)  # that client has nothing more to ask
    served(2, 400, of=source)
    assert [r.id for r in source.take(407)] == [4]
    assert source.closed


def concurrency(timeline: Timeline) -> int:
    """The most requests that were in the system at once."""
    edges = sorted([(s.arrival, 1) for s in timeline.served] + [(s.last, -1) for s in timeline.served])
    most = now = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("mode", MODES)
def test_no_more_requests_are_in_the_system_than_clients_and_all_are_served(mode: str) -> None:
    timeline = closed_loop(3, 11).timeline(mode)
    assert sorted(s.request for s in timeline.served) == list(range(11))
    assert concurrency(timeline) == 3
    last = {s.request: s.last for s in timeline.served}
    assert all(s.arrival == last[s.request - 3] for s in timeline.served if s.request >= 3)


def test_a_client_alone_is_served_one_request_after_the_other() -> None:
    timeline = closed_loop(1, 4, "5ms").timeline("serial-graph")
    ordered = sorted(timeline.served, key=lambda s: s.request)
    assert [b.arrival - a.last for a, b in pairwise(ordered)] == [5_000_000] * 3
    assert all(d.rows == 1 for d in timeline.deliveries)


lengths = st.sampled_from(("9", "{kind='uniform', low=1, high=40}"))


@settings(max_examples=40)
@given(
    clients=st.integers(1, 5),
    requests=st.integers(1, 12),
    think=st.sampled_from(("0s", "1ns", "150us", "40ms")),
    output=lengths,
    stop_share=st.sampled_from(("0", "0.5")),
    policy=st.sampled_from(("prefill-first", "decode-first")),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 9),
)
def test_the_fast_machine_equals_the_reference(
    clients: int, requests: int, think: str, output: str, stop_share: str, policy: str, mode: str, seed: int
) -> None:
    run = closed_loop(
        clients, requests, think, f"workload.output_tokens={output}", f"workload.stop_share={stop_share}",
        f"engine.batching={policy}",
    )  # fmt: skip
    fast, reference = (replace(run, machine=name, seed=seed).timeline(mode) for name in ("fast", "reference"))
    assert (fast.deliveries, fast.served) == (reference.deliveries, reference.served)
    assert (fast.table == reference.table).all()


def test_clients_react_to_a_device_of_sleeping_threads_too() -> None:
    run = closed_loop(2, 6, "3ms", "model={kind='timer', step='1ms'}", "engine.modes=serial-eager")
    serving = LoweredServing(run, lambda: EmulatedDevice(run.costs(), run.lowering()))
    timeline = serving.run("serial-eager")
    assert sorted(s.request for s in timeline.served) == list(range(6))
    last = {s.request: s.last for s in timeline.served}
    assert all(s.arrival == last[s.request - 2] + 3_000_000 for s in timeline.served if s.request >= 2)


def answering(work: int) -> tuple[Loop[None], Loop[None]]:
    """A scheduler that hands its results to a thread that emits them, and so blocks before its clients have reacted."""

    def scheduler() -> Loop[None]:
        while True:
            arrivals = yield from receive(block=True)
            if arrivals.closed and not arrivals.requests:
                yield Put("out", None)
                return
            for request in arrivals.requests:
                yield Launch([Kernel("k", "k", work)], "main")
                yield Wait(DEVICE)
                yield Put("out", request)

    def output() -> Loop[None]:
        while (request := (yield Get("out"))) is not None:
            batch = Batch(request.id, Phase.PREFILL, 1, 1, 0, (request,), prompts=(Chunk(request, 0, 1, 1),))
            yield Emit(Outputs(batch, 1, (request,), ((request, 1, Reason.LENGTH),)))

    return scheduler(), output()


def loop_of(clients: int, requests: int, think: int) -> Source:
    return ClosedLoop([Request(i, 1, 1) for i in range(requests)], None, clients, think)


def test_an_idle_scheduler_wakes_when_another_threads_outputs_bring_a_request() -> None:
    scheduler, output = answering(100)
    threads = {"scheduler": scheduler, "output": output}
    timeline = Machine(HostCosts(Constants())).run(threads, loop_of(1, 3, 50), ranks={"output": 1})
    assert [(s.arrival, s.last) for s in timeline.served] == [(0, 100), (150, 250), (300, 400)]


def test_a_loop_that_never_emits_waits_for_ever() -> None:
    def silent() -> Loop[None]:
        while not (yield from receive(block=True)).closed:
            pass

    with pytest.raises(RuntimeError, match="wait for ever: scheduler"):
        Machine(HostCosts(Constants())).run({"scheduler": silent()}, loop_of(1, 2, 0))
    with pytest.raises(RuntimeError, match="waits for ever for clients"):
        FastMachine(HostCosts(Constants())).run({"scheduler": silent()}, loop_of(1, 2, 0))
