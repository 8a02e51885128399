"""What bounds the period of a steady step, from costs alone: the arithmetic of overlap, to the nanosecond.

G is the device time of a backlogged step, from one step's end to the next's: kernels, gaps, resolve and store. C is
the host time of an overlap step whose wait finds its step done: receive, schedule, prepare, the calls, the least that
a wait takes, process. In between lies a cycle of two steps: what the host launches late, the device ends late, and the
host hears of it a wake-up later.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from step_worlds import STEPS, World

from sim.timeline.spans import Timeline

few = st.one_of(st.just(0), st.integers(0, 40))
gaps = st.integers(0, 5)
HOST_COSTS = ("receive", "schedule", "prepare", "process", "launch", "record", "sync", "wake", "latency")


def worlds(**fixed: st.SearchStrategy[object]) -> st.SearchStrategy[World]:
    """Any world; small costs, so that host and device are often close."""
    drawn: dict[str, st.SearchStrategy[object]] = {
        "body": st.lists(st.integers(1, 60), min_size=1, max_size=4).map(tuple),
        "slots": st.sampled_from((None, 0, 5, 20)),
        "gap": gaps,
        "graph_gap": gaps,
        "graph": st.booleans(),
        **dict.fromkeys(
            ("receive", "schedule", "prepare", "process", "launch", "record", "sync", "wake", "latency"), few
        ),
    }
    return st.builds(World, **{**drawn, **fixed})


def device_intervals(timeline: Timeline) -> list[int]:
    """From the end of each step's last kernel to that of the next."""
    device = timeline.table[timeline.on_device]
    ends = [int(device[device[:, 6] == step][:, 2].max()) for step in range(STEPS)]
    return [b - a for a, b in pairwise(ends)]


def host_intervals(timeline: Timeline) -> list[int]:
    """From each delivery to the next; the last, which launched nothing, is left out."""
    return [b.time - a.time for a, b in pairwise(timeline.deliveries)][:-1]


@given(worlds())
def test_the_period_lies_between_the_larger_of_device_and_host_and_a_late_round_trip(world: World) -> None:
    timeline = world.run(overlap=True)
    assert min(device_intervals(timeline)) >= world.device
    assert min(host_intervals(timeline)[1:]) >= world.host
    upper = max(world.device, world.host + world.wake + world.latency)
    assert sum(host_intervals(timeline)[-8:]) <= 8 * upper


@given(worlds(), st.sampled_from((0, 0, 1, 7, 100)))
def test_a_device_with_a_round_trip_to_spare_is_never_idle(world: World, spare: int) -> None:
    bound = world.with_device(max(world.device, world.host + world.wake + world.latency) + spare)
    assert set(device_intervals(bound.run(overlap=True))[1:]) == {bound.device}


@given(worlds(), st.integers(1, 100))
def test_deliveries_keep_the_pace_of_a_device_that_is_never_idle(world: World, spare: int) -> None:
    slow = world.with_device(2 * max(world.device, world.host + world.wake + world.latency) + spare)
    assert set(host_intervals(slow.run(overlap=True))[2:]) == {slow.device}


@given(worlds(), st.sampled_from((0, 0, 1, 7, 100)))
def test_a_host_slower_than_the_device_sets_the_pace_and_its_wait_costs_the_call_alone(world: World, more: int) -> None:
    missing = max(0, world.device + world.latency - world.host) + more
    bound = replace(world, schedule=world.schedule + missing)
    assert set(host_intervals(bound.run(overlap=True))[3:]) == {bound.host}


def test_the_three_regimes_by_example() -> None:
    world = World(body=(100,), schedule=30, launch=5, record=5, wake=10, latency=10, gap=2, graph=True)
    assert (world.device, world.host) == (102, 40)
    assert host_intervals(world.run(overlap=True))[-4:] == [102] * 4
    host_bound = replace(world, process=100)
    assert host_intervals(host_bound.run(overlap=True))[-4:] == [140] * 4
    between = replace(
        world, process=60
    )  # two steps: the host up to the launch's return 95, latency 10, kernel 100, wake 10
    assert host_intervals(between.run(overlap=True))[-4:] == [100, 115, 100, 115]


def settles(world: World) -> bool:
    """Whether the serial host takes at least a gap to come back.

    Sooner, it finds the stream still recovering, and a backlog grows over many steps before the step is steady.
    """
    return world.gap <= world.latency + world.before + world.launch


def serial_step(world: World) -> int:
    """The steady serial step of a world that settles, the same from one to the next."""
    (step,) = set(host_intervals(world.run(overlap=False))[2:])
    return step


def test_a_serial_host_back_before_the_gap_is_over_fills_a_backlog_first() -> None:
    hasty = World(body=(1,), gap=4, sync=4)
    assert not settles(hasty)
    assert host_intervals(hasty.run(overlap=False))[:6] == [4, 4, 4, 5, 5, 5]


@given(worlds().filter(settles))
@example(World(body=(10,), schedule=10))
def test_two_overlap_steps_take_a_serial_step_but_for_a_wake_up_that_they_avoid(world: World) -> None:
    """So overlap gains at most twice where waking up costs no more than asking in vain."""
    avoided = max(0, world.wake - world.sync)
    assert 4 * serial_step(world) <= sum(host_intervals(world.run(overlap=True))[-8:]) + 4 * avoided


def test_overlap_doubles_the_pace_when_host_and_device_take_as_long() -> None:
    world = World(body=(40,), schedule=40)
    assert (serial_step(world), host_intervals(world.run(overlap=True))[-4:]) == (80, [40] * 4)


def test_overlap_gains_more_than_twice_where_it_avoids_a_long_wake_up() -> None:
    world = World(body=(40,), schedule=40, wake=20)
    assert (serial_step(world), host_intervals(world.run(overlap=True))[-4:]) == (100, [40] * 4)


@given(worlds(), st.integers(0, 50))
def test_a_serial_step_is_the_sum_of_its_parts_when_the_host_is_faster(world: World, more: int) -> None:
    first, *others = world.body
    calls = world.launch * len(world.body) + world.record + world.sync
    ahead = replace(world, body=(first + calls + more, *others), gap=min(world.gap, world.latency))
    host = ahead.before + ahead.launch + ahead.latency
    assert serial_step(ahead) == host + ahead.inside + ahead.wake + ahead.process


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5).map(tuple), gaps)
def test_without_host_costs_all_four_modes_are_equal_to_the_nanosecond(body: tuple[int, ...], gap: int) -> None:
    world = World(body=body, gap=gap, graph_gap=gap)
    found = [
        [d.time for d in replace(world, graph=graph).run(overlap=overlap).deliveries]
        for graph in (False, True)
        for overlap in (False, True)
    ]
    assert found == [found[0]] * 4
    assert host_intervals(world.run(overlap=True)) == [sum(body) + len(body) * gap] * (STEPS - 2)


@given(worlds(slots=st.just(20)).filter(settles))
def test_future_map_kernels_belong_to_the_device_time_of_overlap_only(world: World) -> None:
    free = replace(world, slots=None)
    assert world.device == free.device + 2 * (20 + world.gap)
    assert serial_step(world) == serial_step(free)
    assert sum(host_intervals(free.run(overlap=True))) <= sum(host_intervals(world.run(overlap=True)))
