"""What holds for every program on every machine, beside the invariants that ``sim.check`` states by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import (
    FRAMEWORK,
    Entry,
    Piece,
    Program,
    constants,
    entries,
    execute,
    kernels,
    operations,
    programs,
)

from sim.effects import DEVICE, Launch, Wait
from sim.machine.device import Device
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Copy, Kernel, Op, Record, Replay, Think
from sim.timeline.spans import Kind, Timeline

FEW = settings(max_examples=40)


@FEW
@given(programs(), constants())
def test_a_wait_returns_after_what_it_waits_for(program: Program, machine: Constants) -> None:
    timeline = execute(program, machine)
    found = iter(entries(program, timeline))
    waits = iter(row for row in timeline.on_track("host").tolist() if row[3] == Kind.WAIT)
    so_far: list[Entry] = []
    recorded: dict[object, list[Entry]] = {}
    streams: dict[str, list[Entry]] = defaultdict(list)
    for piece in program:
        if isinstance(piece.effect, Launch):
            for op in piece.ops:
                if isinstance(op, Think):
                    continue
                entry = next(found)
                if isinstance(op, Record):
                    recorded[op.event] = list(streams[entry.stream])
                elif entry.takes_a_slot:
                    streams[entry.stream].append(entry)
                    so_far.append(entry)
        else:
            expected = so_far if piece.effect.on == DEVICE else recorded[piece.effect.on]
            returned = next(waits)[2]
            assert all(returned >= entry.end for entry in expected)


def with_kernels(program: Program, change: Callable[[int | None, Kernel], Kernel]) -> Program:
    """The same program with other kernels; ``change`` is told a kernel's position in its graph, None outside of one."""

    def changed(op: Op) -> Op:
        if isinstance(op, Kernel):
            return change(None, op)
        if not isinstance(op, Replay):
            return op
        body = tuple(change(i, kernel) for i, kernel in enumerate(op.graph.kernels))
        return replace(op, graph=replace(op.graph, kernels=body))

    return tuple(
        Piece(Launch(tuple(map(changed, piece.ops)), piece.effect.stream))
        if isinstance(piece.effect, Launch)
        else piece
        for piece in program
    )


@given(st.lists(kernels(shares=(1.0,)), min_size=1, max_size=20), st.integers(2, 3))
def test_kernels_that_fill_the_device_take_together_as_long_as_one_after_the_other(
    work: list[Kernel], num_streams: int
) -> None:
    pieces = [Piece(Launch((kernel,), str(i % num_streams))) for i, kernel in enumerate(work)]
    timeline = execute((*pieces, Piece(Wait(DEVICE))), Constants())
    device = timeline.table[timeline.on_device]
    busy = 0
    reached = 0
    for start, end in device[:, 1:3].tolist():
        busy += max(0, end - max(start, reached))
        reached = max(reached, end)
    # An end is rounded up to the nanosecond, once a kernel at most.
    total = sum(kernel.ns for kernel in work)
    assert total <= busy <= total + len(work)


@FEW
@given(programs(), constants())
def test_kernels_of_two_streams_start_a_dispatch_interval_apart(program: Program, machine: Constants) -> None:
    """As long as none of them has to wait for multiprocessors after its turn."""
    program = with_kernels(program, lambda _, kernel: replace(kernel, sm=0.01))
    found = [e for e in entries(program, execute(program, machine)) if isinstance(e.op, Kernel | Replay)]
    for earlier, later in pairwise(sorted(found, key=lambda entry: entry.start)):
        if earlier.stream != later.stream:
            assert later.start - earlier.start >= machine.dispatch_interval


def by_track(timeline: Timeline) -> dict[str, list[list[int]]]:
    """Start, end and kind of the spans of each track, the bystander left out."""
    tracks = {track.name: number for number, track in enumerate(timeline.tracks)}
    return {
        name: sorted(timeline.table[timeline.column("track") == number][:, [1, 2, 3]].tolist())
        for name, number in tracks.items()
        if name != "bystander"
    }


@FEW
@given(programs(), constants())
def test_settling_starts_ahead_gives_the_spans_of_asking_the_front_end_for_each(
    program: Program, machine: Constants
) -> None:
    settled = by_track(execute(program, machine))
    plain = Device.__init__

    def crowded(self: Device, *args: object) -> None:
        plain(self, *args)  # type: ignore[arg-type]
        self.live.append(self.stream("bystander"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Device, "__init__", crowded)
        assert by_track(execute(program, machine)) == settled


@FEW
@given(programs(max_streams=1), constants(stream_switch=0, dispatch_interval=0, queue_depth=1_021), st.data())
def test_kernels_without_length_on_another_stream_disturb_nothing_whenever_they_come(
    program: Program, machine: Constants, data: st.DataObject
) -> None:
    # Whoever waits for the whole device does wait for the visitors.
    pieces = [piece for piece in program if piece.effect not in (Wait(DEVICE), Wait(DEVICE, "blocking"))]
    position = data.draw(st.integers(0, len(pieces)))
    visits = data.draw(st.integers(1, 3))
    call = Kernel("nothing", "add", 0)
    thinking = Piece(Launch((Think(HostCosts(machine, FRAMEWORK).call(call).ns),) * visits, "side"))
    visiting = Piece(Launch((call,) * visits, "side"))
    device = [
        by_track(execute((*pieces[:position], extra, *pieces[position:]), machine)).get("main")
        for extra in (thinking, visiting)
    ]
    assert device[0] == device[1]


@given(st.lists(operations(), max_size=20))
def test_no_constants_and_no_work_take_no_time(ops: list[Op]) -> None:
    idle = tuple(
        replace(op, ns=0) if isinstance(op, Copy | Think) else replace(op, ns=0, call="free")
        for op in ops
        if isinstance(op, Kernel | Copy | Think)
    )
    timeline = execute((Piece(Launch(idle, "main")), Piece(Wait(DEVICE))), Constants())
    assert timeline.column("end").max() == 0
