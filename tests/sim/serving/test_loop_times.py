"""What each engine's loop takes a step, against closed forms: periods of closed batches on a machine of known costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from sim.effects import Host, Loop, Phase, Wait
from sim.loops import (
    build,
    forward_thread_loops,
    graphs_or_overlap_loop,
    late_sampling_loop,
    multi_step_loop,
    output_thread_loops,
    overlap_loop,
    serial_loop,
)
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import INPUTS, STEP, Kernel, Op, Record
from sim.serving.buckets import Buckets
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server
from sim.serving.source import RequestSource
from sim.timeline.spans import Timeline

Loops = Callable[[Server], Mapping[str, Loop[None]] | Loop[None]]


@dataclass(frozen=True)
class World:
    """Nanoseconds: device time of ``forward`` and ``sample``, a launch of each ``held`` under the lock and ``api`` not.

    ``schedule`` is the host's work before a launch, ``process`` that on a result, ``mask`` that between logits and
    sampling. ``handoff`` is what a thread takes to get the lock that another has let go.
    """

    forward: int = 0
    sample: int = 0
    schedule: int = 0
    process: int = 0
    mask: int = 0
    held: int = 0
    api: int = 0
    handoff: int = 0
    buckets: tuple[int, ...] = ()
    requests: int = 1
    tokens: int = 40

    def run(self, loops: Loops, stops: Mapping[int, int] | None = None, **scheduler: bool) -> Timeline:
        server = Server(
            Scheduler(KVCache(64), **scheduler),  # type: ignore[arg-type]
            Buckets(self.buckets) if self.buckets else None,
        )
        made = loops(server)
        threads = made if isinstance(made, Mapping) else {"host": made}
        work = {name: (getattr(self, name), 0, 0) for name in ("schedule", "process", "mask")}
        costs = HostCosts(
            Constants(launch_call=self.api, gil_handoff=self.handoff, gil_switch_interval=10**9),
            framework_default=self.held,
            work=work,
        )
        requests = [Request(i, 1, self.tokens, computed=True) for i in range(self.requests)]
        return Machine(costs, self.lower).run(threads, RequestSource(requests, stops))

    def lower(self, phase: Phase) -> list[tuple[str, list[Op]]]:
        """All on one stream, and the record of the step's event behind the copy, which takes nothing."""
        kernels: list[Op] = [
            Kernel(part, "bare", ns)
            for part, ns in (("forward", self.forward), ("sample", self.sample))
            if part in phase.parts and ns
        ]
        return [("forward", [*kernels, *([Record(STEP)] if "copy" in phase.parts else [])])]

    def period(self, loops: Loops) -> int:
        """Between deliveries in the middle of the run, where every step is the one before again."""
        times = [int(d.time) for d in self.run(loops).deliveries]
        (period,) = {b - a for a, b in pairwise(times[15:-15])}
        return period


BUSY = World(forward=100, sample=20, schedule=30, process=40, held=1, api=2)


@pytest.mark.parametrize(
    "world",
    [BUSY, replace(BUSY, process=200), replace(BUSY, schedule=300), replace(BUSY, mask=90), replace(BUSY, forward=5)],
)
def test_late_sampling_waits_for_the_host_between_logits_and_sampling(world: World) -> None:
    launch = world.held + world.api
    between = world.process + world.mask + launch  # from the result of N-1 to the launch of N's sampling
    device = max(world.forward, between) + world.sample
    host = between + world.schedule + launch
    assert world.period(lambda s: late_sampling_loop(s, masks=True)) == max(device, host)


def test_sampling_with_the_forward_pass_does_not_wait_for_the_host() -> None:
    world = replace(BUSY, process=80)
    assert world.period(overlap_loop) == 100 + 20
    assert world.period(late_sampling_loop) == 100 + 20
    slow = replace(BUSY, process=110, schedule=0)
    assert slow.period(overlap_loop) == 100 + 20
    assert slow.period(late_sampling_loop) == 110 + 3 + 20


def test_masks_of_late_sampling_come_after_the_tokens_that_they_depend_on() -> None:
    world = replace(BUSY, mask=90)
    timeline = world.run(lambda s: late_sampling_loop(s, masks=True))
    rows = timeline.on_track("host")
    told = [n for n in timeline.span_names(rows) if n in ("schedule", "process", "mask")]
    assert told[:2] == ["schedule", "mask"]  # of the first step, which follows nobody
    assert told[2:8] == ["schedule", "process", "mask"] * 2


@pytest.mark.parametrize(("mask", "between"), [(50, 100), (97, 100), (150, 153)])
def test_a_serial_loop_computes_masks_while_its_forward_pass_runs(mask: int, between: int) -> None:
    world = replace(BUSY, mask=mask)
    # schedule, the launch, then the device and beside it the mask and the launch of the sampling, and process
    assert world.period(lambda s: serial_loop(s, masks=True)) == 30 + 3 + between + 20 + 40


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_a_round_of_steps_is_scheduled_once_and_processed_at_its_end(steps: int) -> None:
    timeline = replace(BUSY, tokens=10 * steps).run(lambda s: multi_step_loop(s, steps=steps, late_outputs=False))
    times = [int(d.time) for d in timeline.deliveries]
    launch, step = 3, 120
    (round_,) = {b - a for a, b in pairwise(times[::steps])}
    assert round_ == 30 + launch + steps * step + steps * 40
    assert len(times) == 10 * steps


@pytest.mark.parametrize(("process", "period"), [(40, 4 * 120), (150, 30 + 4 * (150 + 2 * 3))])
def test_a_round_processed_late_hides_behind_the_next(process: int, period: int) -> None:
    world = replace(BUSY, process=process)
    times = [int(d.time) for d in world.run(lambda s: multi_step_loop(s, steps=4, late_outputs=True)).deliveries]
    (round_,) = {b - a for a, b in pairwise(times[8:-8:4])}
    assert round_ == period


@pytest.mark.parametrize(("steps", "late_outputs", "wasted"), [(1, False, 0), (8, False, 6), (8, True, 14)])
def test_a_stop_within_a_round_wastes_the_rest_of_it(steps: int, wasted: int, *, late_outputs: bool) -> None:
    def loop(server: Server) -> Loop[None]:
        return multi_step_loop(server, steps=steps, late_outputs=late_outputs)

    late = [d.rows - d.tokens for d in BUSY.run(loop, stops={0: 10}).deliveries]
    assert sum(late) == wasted  # the 10th of 16 tokens; a round late, the 8 after them, too


def test_a_length_within_a_round_wastes_the_rest_of_it_unless_it_is_foreseen() -> None:
    def loop(server: Server) -> Loop[None]:
        return multi_step_loop(server, steps=8, late_outputs=False)

    world = replace(BUSY, tokens=10)
    assert sum(d.rows - d.tokens for d in world.run(loop, foresee_length=False).deliveries) == 6
    assert sum(d.rows - d.tokens for d in world.run(loop, foresee_length=True).deliveries) == 0


def test_either_graphs_or_overlap() -> None:
    eager, graph = BUSY, replace(BUSY, buckets=(1,))
    serial = 30 + 2 * 3 + 100 + 20 + 40 - 3  # the second launch passes behind the forward pass
    assert eager.period(graphs_or_overlap_loop) == eager.period(overlap_loop) == 120
    assert graph.period(graphs_or_overlap_loop) == graph.period(serial_loop) == serial
    above = replace(graph, requests=2)
    assert above.period(graphs_or_overlap_loop) == 120


@pytest.mark.parametrize("loops", [forward_thread_loops, output_thread_loops])
def test_a_device_bound_step_hides_both_threads(loops: Loops) -> None:
    assert replace(BUSY, handoff=1).period(loops) == 120


def test_two_threads_share_one_lock_so_host_bound_work_adds_up_and_every_change_costs() -> None:
    world = World(forward=1, sample=1, schedule=30, process=40, held=25)
    assert world.period(overlap_loop) == 30 + 40 + 2 * 25
    assert world.period(forward_thread_loops) == 30 + 40 + 2 * 25
    costly = replace(world, handoff=7)
    assert costly.period(overlap_loop) == 30 + 40 + 2 * 25
    times = [int(d.time) for d in costly.run(forward_thread_loops).deliveries]
    (two_steps,) = {b - a for a, b in pairwise(times[4:-4:2])}
    assert two_steps == 2 * (30 + 40 + 2 * 25) + 11 * 7  # around the queue and the calls that wait: 6 times, then 5


def test_calls_that_let_go_of_the_lock_pass_beside_the_other_thread() -> None:
    world = World(forward=1, sample=1, schedule=30, process=40, api=25)
    assert world.period(overlap_loop) == 30 + 40 + 2 * 25
    assert world.period(forward_thread_loops) == 30 + 40 + 25  # the launch of the sampling; the forward's is waited for


def test_a_forward_thread_samples_behind_the_masks_and_no_loop_masks_unasked() -> None:
    world = replace(BUSY, mask=200)
    timeline = world.run(lambda s: forward_thread_loops(s, masks=True))
    rows = list(zip(timeline.span_names(timeline.table), timeline.table.tolist(), strict=True))
    for step in range(3, 9):
        (masked,) = (row for name, row in rows if name == "mask" and row[6] == step)
        (sampled,) = (row for name, row in rows if name == "sample" and row[6] == step)
        assert sampled[1] >= masked[2]
    for loops in (late_sampling_loop, forward_thread_loops, serial_loop):
        assert "mask" not in world.run(loops).names


def test_an_output_thread_costs_changes_of_the_lock() -> None:
    world = World(forward=100, schedule=30, process=40, held=60, handoff=7)
    assert world.period(overlap_loop) == 130
    assert world.period(output_thread_loops) == 130 + 4 * 7


@pytest.mark.parametrize(
    "loops",
    [
        late_sampling_loop,
        graphs_or_overlap_loop,
        forward_thread_loops,
        output_thread_loops,
        lambda s: late_sampling_loop(s, masks=True),
        lambda s: forward_thread_loops(s, masks=True),
        lambda s: multi_step_loop(s, steps=8, late_outputs=True),
    ],
)
def test_every_loop_delivers_every_token_once(loops: Loops) -> None:
    timeline = replace(BUSY, requests=3, tokens=13).run(loops, stops={1: 5})
    assert [r.tokens for r in sorted(timeline.served, key=lambda r: r.request)] == [13, 5, 13]
    assert sum(d.tokens for d in timeline.deliveries) == 31


@pytest.mark.parametrize("wait_for_inputs", [False, True])
def test_inputs_are_prepared_after_those_before_have_left_their_buffer(wait_for_inputs: bool) -> None:
    server = Server(Scheduler(KVCache(64)), None)
    server.add((Request(0, 1, 2, computed=True),))
    steps = build(server, wait_for_inputs=wait_for_inputs)
    schedule = next(steps)
    assert isinstance(schedule, Host)
    effect = steps.send(schedule.work())
    if wait_for_inputs:
        assert effect == Wait(INPUTS)
        effect = steps.send(None)
    assert isinstance(effect, Host)
    assert effect.name == "prepare"
