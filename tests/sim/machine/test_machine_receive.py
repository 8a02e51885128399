"""Requests reaching a loop: what has arrived by now, and idling until something does."""

from __future__ import annotations

import pytest
from machine_worlds import host

from sim.effects import Arrivals, Emit, Host, Launch, Loop, Phase, Receive, Wait
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import STEP, Kernel, Record
from sim.serving.batch import Batch, Chunk, Outputs, StepResult
from sim.serving.batch import Phase as BatchPhase
from sim.serving.request import Reason, Request
from sim.timeline.spans import Delivery, Served, Timeline


class Schedule:
    """Requests at times given in advance; whoever is in ``stops`` stops with the first batch."""

    def __init__(self, *times: int, stops: tuple[int, ...] = ()) -> None:
        self.pending = [Request(number, 1, 4, arrival=time) for number, time in enumerate(times)]
        self.stops = stops

    def take(self, now: int) -> tuple[Request, ...]:
        taken = tuple(r for r in self.pending if r.arrival <= now)
        self.pending = [r for r in self.pending if r.arrival > now]
        return taken

    def next_arrival(self) -> int | None:
        return self.pending[0].arrival if self.pending else None

    @property
    def closed(self) -> bool:
        return not self.pending

    def react(self, outputs: Outputs, now: int) -> None: ...

    def stopped(self, batch: Batch) -> tuple[int, ...]:
        del batch
        return self.stops


def receives(
    times: tuple[int, ...], *blocks: bool, cost: tuple[int, int, int] = (0, 0, 0)
) -> tuple[list[Arrivals], Timeline]:
    """What consecutive receives return, and the timeline."""
    got: list[Arrivals] = []

    def loop() -> Loop[None]:
        while len(got) < len(blocks):
            got.append((yield Receive(blocks[len(got)])))

    timeline = Machine(HostCosts(work={"receive": cost})).run({"host": loop()}, Schedule(*times))
    return got, timeline


def seen(arrivals: list[Arrivals]) -> list[tuple[int, tuple[int, ...], bool]]:
    return [(a.now, tuple(r.id for r in a.requests), a.closed) for a in arrivals]


def test_what_has_arrived_by_now_is_received_this_instant_included() -> None:
    got, _ = receives((0, 0, 40, 80, 81), False, False, False, cost=(40, 0, 0))
    assert seen(got) == [(0, (0, 1), False), (40, (2,), False), (80, (3,), False)]


def test_receiving_costs_its_base_and_its_requests_and_sees_only_what_came_before() -> None:
    got, timeline = receives((0, 0, 10), False, False, cost=(30, 5, 0))
    assert host(timeline) == [("receive", 0, 40), ("receive", 40, 75)]
    assert seen(got) == [(0, (0, 1), False), (40, (2,), True)]


def test_a_blocking_receive_idles_until_the_next_arrival() -> None:
    got, timeline = receives((500, 900), True, True, cost=(30, 0, 0))
    assert host(timeline) == [("no work", 0, 500), ("receive", 500, 530), ("no work", 530, 900), ("receive", 900, 930)]
    assert seen(got) == [(500, (0,), False), (900, (1,), True)]


def test_a_receive_that_need_not_block_does_not() -> None:
    got, timeline = receives((0,), True, True, False)
    assert seen(got) == [(0, (0,), True), (0, (), True), (0, (), True)]
    assert {name for name, _, _ in host(timeline)} == {"receive"}


def batch(index: int, *, rows: int = 2) -> Batch:
    return Batch(index, BatchPhase.DECODE, rows, rows, 10, tuple(Request(i, 1, 4) for i in range(rows)))


def test_a_batch_is_lowered_launched_waited_for_and_its_tokens_stamped() -> None:
    results: list[StepResult] = []

    def loop() -> Loop[None]:
        built = yield Host("schedule", lambda: batch(3))
        step = yield Launch(Phase(built))
        results.append((yield Wait(step)))
        first, second = built.members
        yield Emit(Outputs(built, 2, first=(first, second), finished=((second, 1, Reason.STOP),)))

    machine = Machine(
        HostCosts(Constants(launch_call=10), work={"schedule": (100, 7, 1)}),
        lambda phase: [("forward", [Kernel("k", "k", 50 * phase.batch.rows)]), ("forward", [Record(STEP)])],
    )
    timeline = machine.run({"host": loop()}, Schedule(stops=(1,)))
    assert results == [StepResult(226, (1,))]
    assert timeline.column("step").tolist() == [3, 3, 3, 3, 3]
    assert host(timeline)[0] == ("schedule", 0, 116)
    assert timeline.deliveries == (Delivery(226, 3, 2, 2, prefill=False, decoded=2),)
    assert timeline.served == (Served(1, 0, 226, 226, 1, "stop", context=1),)


def test_work_is_paid_by_row_token_and_prompt() -> None:
    """Two prompts of 30 and 40 tokens beside a row that decodes."""
    asked = [Request(i, 1, 4) for i in range(3)]
    prompts = tuple(Chunk(request, 0, tokens, 1) for request, tokens in zip(asked[1:], (30, 40), strict=True))
    mixed = Batch(0, BatchPhase.MIXED, 3, 71, 10, tuple(asked), prompts=prompts)

    def loop() -> Loop[None]:
        yield Host("schedule", lambda: mixed)

    costs = HostCosts(work={"schedule": (100, 7, 1)}, prompts={"schedule": (300, 1000)}, scale=2.0)
    assert host(Machine(costs).run({"host": loop()})) == [("schedule", 0, 2 * (100 + 3 * 7 + 71 + 300 + 2 * 1000))]
    assert costs.work_ns("schedule", 3, 3) == 2 * (100 + 3 * 7 + 3)  # nothing of either where no prompt is


def test_a_naive_phase_waits_for_the_device_after_every_operation() -> None:
    def loop() -> Loop[None]:
        yield Launch(Phase(batch(0), sync_each=True))

    kernels = [Kernel("k", "k", 50)] * 2
    machine = Machine(
        HostCosts(Constants(launch_call=10, wake_device=4)), lambda _: [("forward", [*kernels, Record(STEP)])]
    )
    assert host(machine.run({"host": loop()})) == [
        ("cudaLaunchKernel", 0, 10),
        ("cudaDeviceSynchronize", 10, 64),
        ("cudaLaunchKernel", 64, 74),
        ("cudaDeviceSynchronize", 74, 128),
        ("cudaEventRecord", 128, 128),
    ]


def test_a_machine_without_a_model_cannot_lower_a_batch() -> None:
    def loop() -> Loop[None]:
        yield Launch(Phase(batch(0)))

    with pytest.raises(ValueError, match="batch 0 needs a model"):
        Machine(HostCosts()).run({"host": loop()})
