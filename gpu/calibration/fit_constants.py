"""Costs of the driver's calls and of the device's bookkeeping, each from a difference of measured times.

Everything here is microseconds, as in the tables; the profile's writer rounds to nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu.calibration.layer_parts import LayerRow
from gpu.calibration.measurements import Measurements
from gpu.calibration.regression import Line, shared_interval, theil_sen

OPS = ("add_out", "mm_out", "sleep5us")
LAUNCH_LATENCY = 2.5
"""The anchor of what the tables know only as sums: a published floor of 4.5 from a null kernel's call to its start on
an H200 (TaxBreak, ISPASS 2026), less a bare call of 2."""
ENDS = 5.0
"""Start and end of a train of kernels over several streams, in its total time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value in microseconds (or a count), how it was derived and what the fit left."""

    value: float
    source: str
    residual: str = ""


def fit_constants(m: Measurements) -> dict[str, Estimate]:
    """All constants of a profile, in the order in which later ones need earlier ones."""
    known = gaps(m) | calls(m)
    known |= {**replay_gaps(m, known["graph_gap"].value), **front_end(m), **graph_calls(m)}
    known |= step_gap(m, known["graph_gap"].value)
    return known | wakes(m, known) | first_replay(m) | threads(m.host["gil"])


def gaps(m: Measurements) -> dict[str, Estimate]:
    """What separates kernels in a stream and in a graph, and a timing event's stamp."""
    stream = {op: m.chain_slope(op, "stream_gpu_us") for op in OPS}
    saved = {op: stream[op] - m.chain_slope(op, "graph_gpu_us") for op in OPS}
    stream_gap = _median(
        (stream[op] - m.duration(op) for op in OPS),
        "device chains 1 and 100: slope in a stream minus the profiled kernel duration, median of three ops",
    )
    less = _median(saved.values(), "")
    return {
        "stream_gap": stream_gap,
        "graph_gap": Estimate(
            stream_gap.value - less.value,
            "stream_gap minus the median over three ops of stream slope minus graph slope (device chains 1 and 100)",
            f"{less.residual}; the profiler stamps {m.profiled['add_out_graph']['gap']['p50']:.3f}us in a graph",
        ),
        "timed_event": _median(
            (m.chain(op, "stream_gpu_us", 1) - m.duration(op) - stream_gap.value for op in OPS),
            "device chains: one kernel between two timing events, minus kernel and stream_gap, median of three ops",
        ),
    }


def step_gap(m: Measurements, graph_gap: float) -> dict[str, Estimate]:
    """What separates the kernels of a step that are launched one by one; nothing of tables that lack such rows."""
    found = [gap for row in m.layers["rows"] if (gap := LayerRow(row, graph_gap).stream_gap) is not None]
    if not found:
        return {}
    source = (
        "layers, decode: half of the layers launched one by one behind a sleep, minus the same in a graph, a kernel,"
    )
    low, high = np.quantile(found, [0.1, 0.9])
    spread = f"p10 to p90 {low:.3f} to {high:.3f}us of {len(found)} rows"
    return {"step_gap": Estimate(float(np.median(found)), f"{source} plus graph_gap, median", spread)}


def replay_gaps(m: Measurements, graph_gap: float) -> dict[str, Estimate]:
    """What separates two graphs, and what precedes a graph's kernel that waits for several."""
    add = m.body_slope("add") - graph_gap
    return {
        "graph_join_gap": Estimate(
            m.body_slope("forkjoin") - add,
            "device graph_launch: iteration of two kernels side by side and a join, minus one such kernel's duration",
            "one body: no spread",
        ),
        "replay_gap": _median(
            (m.body(b, "pipelined", 100) - 100 * m.body_slope(b) + graph_gap for b in m.bodies()),
            "device graph_launch, replays back to back: 100 nodes minus 100 slopes, plus graph_gap, median of bodies",
        ),
    }


def front_end(m: Measurements) -> dict[str, Estimate]:
    """What streams pay for sharing the front end."""
    same, cross = m.device["hops"]["same"], m.device["hops"]["cross"]
    totals = {r["streams"]: r for r in m.device["concurrency"] if r["op"] == "add"}
    few, many = ((k * totals[k]["per_stream"], float(totals[k]["us"])) for k in (4, 8))
    interval, error = shared_interval(few, many, ENDS)
    return {
        "stream_switch": Estimate(
            (cross[1] - cross[0]) / 40 - (same[1] - same[0]) / 40,
            "device hops: slope from 10 to 50 hops between two streams minus the slope within one",
            "two points: no spread",
        ),
        "dispatch_interval": Estimate(
            interval,
            f"device concurrency: 60 adds on each of 4 and 8 streams, {ENDS:g}us for both ends, equal relative errors",
            f"{100 * error:.1f}% of either total",
        ),
    }


def calls(m: Measurements) -> dict[str, Estimate]:
    """Host time inside single calls of the runtime."""
    runs = [m.host["host_calls"], m.host["host_calls_again"]]

    def both(*names: str) -> Estimate:
        values = [run[name]["p50"] for run in runs for name in names]
        source = f"host host_calls, device busy: mean of {' and '.join(names)} p50 in both runs"
        return Estimate(float(np.mean(values)), source, f"{min(values):.3f} to {max(values):.3f}us")

    query = runs[0]["event_query"]
    sync, idle = m.host["synchronization"]["event_sync_nothing"], m.device["sync_nothing"]
    return {
        "launch_call": both("sleep"),
        "event_record_call": both("event_record"),
        "event_wait_call": both("stream_wait"),
        "copy_call": both("h2d_pinned", "d2h_pinned"),
        "event_query_call": Estimate(
            query["p50"], "host host_calls: event_query p50, device busy", f"p10 to p90 {_range(query)}"
        ),
        "event_sync_call": Estimate(
            sync["p50"], "host synchronization: event_sync_nothing p50", f"p10 to p90 {_range(sync)}"
        ),
        "device_sync_call": Estimate(
            idle["p50"], "device sync_nothing: p50 on an idle device", f"p90 {idle['p90']:.3f}us"
        ),
        "queue_depth": Estimate(
            m.device["first_blocked"],
            "device first_blocked: index of the first launch that blocked behind a sleep of 60ms",
        ),
    }


def graph_calls(m: Measurements) -> dict[str, Estimate]:
    """What launching a graph costs the host, and by how much a larger graph starts later."""
    nodes = [(b, n) for b in m.bodies() for n in (100, 400, 800)]
    host = theil_sen([(n, m.body(b, "host_busy", n)) for b, n in nodes])
    left = [abs(m.body(b, "host_busy", n) - host.at(n)) for b, n in nodes]
    waits = [(n, m.body(b, "e2e", n) - m.body(b, "pipelined", n)) for b, n in nodes]
    late = theil_sen(waits)
    whose = "Theil-Sen over all bodies"
    residual = f"median {np.median(left):.3f}us, max {max(left):.3f}us of {len(left)} rows"
    return {
        "graph_launch_call": Estimate(
            host.intercept, f"device graph_launch, host_busy over nodes, intercept: {whose}", residual
        ),
        "graph_launch_call_per_1000_nodes": Estimate(
            1000 * host.slope, f"device graph_launch, host_busy over nodes, slope: {whose}", residual
        ),
        "graph_launch_latency_per_1000_nodes": Estimate(
            max(0.0, 1000 * (late.slope - host.slope)),
            f"device e2e minus pipelined over nodes, slope: {whose}; minus graph_launch_call_per_1000_nodes",
            f"median {np.median([abs(wait - late.at(n)) for n, wait in waits]):.3f}us of {len(waits)} rows",
        ),
    }


def profiled_constants(m: Measurements, known: dict[str, Estimate]) -> dict[str, Estimate]:
    """What launching costs for good once a profiler has run in the process."""
    launches = m.profiled["launches"]
    points = [(int(nodes) / 1000, float(us)) for nodes, us in launches["graph_after"].items()]
    line = theil_sen(points)
    left = max(abs(us - line.at(thousands)) for thousands, us in points)
    residual = f"max {left:.3f}us of {len(points)} rows"
    source = "profiled launches, graph_after: graphs launched once a profiler has run, Theil-Sen over nodes, "
    more = float(launches["op_after"]) - float(launches["op_before"])
    return {
        "launch_call": Estimate(
            known["launch_call"].value + max(0.0, more),
            "launch_call plus profiled launches, op_after minus op_before: what an eager op takes longer",
            "one op: no spread",
        ),
        "graph_launch_call": Estimate(max(0.0, line.intercept), source + "intercept", residual),
        "graph_launch_call_per_1000_nodes": Estimate(max(0.0, line.slope), source + "slope", residual),
    }


def wakes(m: Measurements, known: dict[str, Estimate]) -> dict[str, Estimate]:
    """Latencies to an idle device and wake-ups of the host: measured are sums of the two, an anchor splits them."""
    per_1000 = known["graph_launch_latency_per_1000_nodes"].value
    spin, blocking = m.device["wake"]["spin"], m.device["wake"]["blocking"]
    device = _median(
        (m.chain(op, "eager_e2e", 1) - m.chain_slope(op, "eager_host") - m.duration(op) - LAUNCH_LATENCY for op in OPS),
        "device chains of 1: eager_e2e minus the host's slope an op, the kernel, launch_latency; median of three ops",
    )
    graphs = _median(
        (
            m.chain(op, "graph_e2e", n)
            - m.chain(op, "replay_host_busy", n)
            - per_1000 * n / 1000
            - m.duration(op)
            - (n - 1) * m.chain_slope(op, "graph_gpu_us")
            - device.value
            for op in OPS
            for n in (1, 100)
        ),
        "device chains of 1 and 100: graph_e2e minus the row's own call (replay_host_busy, the host drifts),"
        " graph_launch_latency_per_1000_nodes, the kernels and wake_device, median of six",
    )
    beyond = m.duration("sleep5us") - 5
    less = m.chain_slope("sleep5us", "eager_host") + LAUNCH_LATENCY + beyond
    return {
        "launch_latency": Estimate(
            LAUNCH_LATENCY,
            "not in our tables: published 4.5us from call to start on an H200 (TaxBreak, 2026) less a bare call of 2us",
        ),
        "copy_latency": Estimate(LAUNCH_LATENCY, "not in our tables: set equal to launch_latency"),
        "wake_spin": Estimate(
            spin[0] - less,
            "device wake.spin: lateness of an event wait after a sleep kernel, minus what launching one takes the host"
            f" (device chains 1 and 100), launch_latency and {beyond:.3f}us that the kernel takes beyond its cycles",
            f"p90 {spin[1] - spin[0]:.3f}us above",
        ),
        "wake_blocking": Estimate(
            blocking[0] - less,
            "device wake.blocking: as wake_spin",
            f"p90 {blocking[1] - blocking[0]:.3f}us above",
        ),
        "wake_device": device,
        "graph_launch_latency": graphs,
    }


def first_replay(m: Measurements) -> dict[str, Estimate]:
    """What the first launch of an executable costs beyond any later one: the mean of one line a kernel."""
    by_op: dict[str, list[tuple[float, float]]] = {}
    for row in m.host["first_replays"]:
        by_op.setdefault(row["op"], []).append((row["nodes"], row["extra_us"]["p50"]))
    lines = [theil_sen(points) for points in by_op.values()]
    intercept, slope = (float(np.mean([getattr(line, name) for line in lines])) for name in Line.__slots__)
    left = [abs(intercept + slope * n - us) for points in by_op.values() for n, us in points]
    each = " and ".join(f"{1000 * line.slope:.0f}us" for line in lines)
    residual = f"{each} a thousand; median {np.median(left):.1f}us, max {max(left):.1f}us of {len(left)} rows"
    source = "host first_replays: mean {} of the lines of each kernel, p50 over 1 to 1000 nodes"
    return {
        "first_replay": Estimate(max(0.0, intercept), source.format("intercept"), residual),
        "first_replay_per_1000_nodes": Estimate(1000 * slope, source.format("slope"), residual),
    }


def threads(gil: Mapping[str, Any]) -> dict[str, Estimate]:
    """What host threads pay for sharing one interpreter.

    A thread that waits for the interpreter's switch interval wakes up late, and the holder runs on meanwhile: pure
    Python lost about 1 % to the launches beside it. So what launches are further apart than that interval counts to
    the interval, but for what a launch takes once the holder has let go.
    """
    spacings = [1e3 * float(d) for run in gil["runs"] for d in np.diff(run["during_at_ms"])]
    slower = _median((run["after_us"] - gil["alone_us"] for run in gil["runs"]), "")
    handoff = _median(
        (1e3 * run["first_after_ms"] - run["after_us"] for run in gil["runs"]),
        "host gil: from the end of pure Python to the return of the other thread's first launch, minus a launch",
    )
    launch = float(np.median([run["after_us"] for run in gil["runs"]]))
    return {
        "gil_switch_interval": _median(
            (spacing - handoff.value - launch for spacing in spacings),
            "host gil: spacing of the launches of a thread beside one of pure Python, minus gil_handoff and a"
            f" launch; the interpreter's own interval is {gil['switch_interval_s']:g}s",
        ),
        "gil_handoff": handoff,
        "other_thread_call": Estimate(
            max(0.0, slower.value),
            "host gil: a launch from a second thread while the first waits, minus one of the first",
            slower.residual,
        ),
    }


def _median(values: Iterable[float], source: str) -> Estimate:
    xs = list(values)
    middle = max(0.0, float(np.median(xs)))
    return Estimate(middle, source, f"max deviation {max(abs(x - middle) for x in xs):.3f}us of {len(xs)}")


def _range(row: dict[str, float]) -> str:
    return f"{row['p10']:.3f} to {row['p90']:.3f}us"
