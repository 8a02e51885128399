"""A single stream has a closed form: the machine must be equal to its max-plus recursion, to the nanosecond."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from machine_programs import FRAMEWORK, Piece, constants, copies, execute, kernels, replays, small

from sim.effects import DEVICE, Launch, Wait
from sim.program.constants import Constants
from sim.program.ops import Copy, Kernel, Op, Record, Replay, Think

NEVER = -(10**18)
Interval = tuple[int, int]


def recursion(ops: list[Op], c: Constants) -> tuple[list[Interval], list[Interval]]:
    """Host and device spans: ``start[i] = max(end[i-1] + gap, call[i] + latency)``, ``return[i] >= start[i-Q]``."""
    host: list[Interval] = []
    device: list[Interval] = []
    starts: list[int] = []
    replayed: set[object] = set()
    now, free, after_graph = 0, NEVER, False
    for op in ops:
        began = now
        match op:
            case Think(ns=ns):
                now += ns
            case Record(timed=timed):
                now += c.event_record_call
                free = max(free, now) + c.timed_event if timed else free
            case Kernel(call=call, ns=ns):
                now += FRAMEWORK[call] + c.launch_call
                starts.append(max(free + c.stream_gap, now + c.launch_latency))
                device.append((starts[-1], free := starts[-1] + ns))
                after_graph = False
            case Copy(ns=ns):
                now += c.copy_call
                starts.append(max(free + c.stream_gap, now + c.copy_latency))
                device.append((starts[-1], free := starts[-1] + ns))
                after_graph = False
            case Replay(executable=executable, graph=graph):
                nodes = len(graph.kernels)
                now += c.graph_launch_call + c.graph_launch_call_per_1000_nodes * nodes // 1000
                if executable not in replayed:
                    now += c.first_replay + c.first_replay_per_1000_nodes * nodes // 1000
                    replayed.add(executable)
                latency = c.graph_launch_latency + c.graph_launch_latency_per_1000_nodes * nodes // 1000
                starts.append(max(free + (c.replay_gap if after_graph else c.stream_gap), now + latency))
                free = starts[-1] - c.graph_gap
                device += [(free + c.graph_gap, free := free + c.graph_gap + kernel.ns) for kernel in graph.kernels]
                after_graph = True
        if isinstance(op, Kernel | Copy | Replay) and len(starts) > c.queue_depth:
            now = max(now, starts[-1 - c.queue_depth])
        host.append((began, now))
    host.append((now, max(now + c.device_sync_call, free + c.wake_device if free > now else now)))
    return host, device


operations = st.one_of(
    kernels(),
    kernels(),
    replays(branches=False),
    copies(pageable=False),
    st.builds(Record, st.just("e"), st.booleans()),
    st.builds(Think, small),
)


@given(st.lists(operations, max_size=40), constants())
@example([Kernel("k", "free", 1_000)] * 3, Constants(launch_call=100, launch_latency=5_000, queue_depth=1))
@example([Kernel("k", "add", 896)] * 2_100, Constants(launch_call=100, launch_latency=2_500, stream_gap=1_120))
def test_a_single_stream_equals_its_recursion(ops: list[Op], machine: Constants) -> None:
    timeline = execute((Piece(Launch(tuple(ops), "main")), Piece(Wait(DEVICE))), machine)
    host, device = recursion(ops, machine)
    assert sorted((row[1], row[2]) for row in timeline.on_track("host").tolist()) == sorted(host)
    assert [(row[1], row[2]) for row in timeline.table[timeline.on_device].tolist()] == device
