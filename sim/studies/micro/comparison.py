"""Predictions of measured micro-benchmarks, group by group.

Kernels last as long as the profile or the profiler says; no number of a held-out row enters its own prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sim.effects import Launch
from sim.program.calls import HostCosts
from sim.program.ops import Graph, Kernel, Op, Replay
from sim.studies.micro import programs
from sim.studies.micro.programs import MAIN, Micro
from sim.studies.micro.tables import CALLS, Row, Tables, nanoseconds

FITTED_CHAINS = (1, 100)


def chains(t: Tables) -> Iterator[Row]:
    """Chains of kernels end to end, launched one by one and as a graph."""
    for op in CALLS:
        kernel = t.kernel(op)
        for row in t.micro["chains"]:
            if row["op"] == op:
                n, fitted = row["n"], row["n"] in FITTED_CHAINS
                eager, graph = programs.chain(kernel, n), programs.replay(Graph((kernel,) * n))
                yield _row("chains", f"{op} eager {n}", eager, t.costs, row["eager_e2e"]["median_us"], fitted)
                yield _row("chains", f"{op} graph {n}", graph, t.costs, row["graph_e2e"]["median_us"], fitted)


def first_replays(t: Tables) -> Iterator[Row]:
    """First launches of graphs of 30 kernels and more."""
    for row in t.micro["chains"]:
        op, n = row["op"], row["n"]
        if n >= 30:
            micro = programs.first_replay(Graph((t.kernel(op),) * n))
            yield _row("first replay", f"{op} {n}", micro, t.costs, row["first_replay_us"], n in FITTED_CHAINS)


def unshielded(t: Tables) -> Iterator[Row]:
    """900 kernels behind a sleep of 3ms: device time only if the host launches them within those.

    The host's speed is found on the chain's own host time, in another column.
    """
    for op in CALLS:
        row, kernel = t.chain(op, 900), t.kernel(op)
        scale = nanoseconds(row["eager_host"]["median_us"]) / programs.chain_host(kernel, 900).predict(t.costs)
        micro = programs.behind_shield(t.sleep(3000), [Launch([kernel] * 900, MAIN)])
        yield _row("behind 3ms", f"{op} 900", micro, t.scaled(scale), row["stream_gpu_us"])


def matmuls(t: Tables, costs: HostCosts) -> Iterator[Row]:
    """100 square products one by one and as a graph, on a host of these costs."""
    for row in t.micro["exercise1"]:
        n, kernel = row["n"], t.square(row["n"])
        group = "100 matmuls" if n <= 2048 else "100 matmuls of 4096"
        eager, graph = programs.chain(kernel, 100), programs.replay(Graph((kernel,) * 100))
        yield _row(group, f"eager {n}", eager, costs, row["eager"]["median_us"], n == 32)
        yield _row(group, f"graph {n}", graph, costs, row["graph"]["median_us"])


def drift(t: Tables) -> float:
    """By how much the host was slower in the matmuls than in the chains, found on the smallest ones."""
    measured = t.micro["exercise1"][0]["eager"]["median_us"]
    return nanoseconds(measured) / programs.chain(t.square(32), 100).predict(t.costs)


def hops(t: Tables) -> Iterator[Row]:
    """Kernels one after the other within a stream and between two, in all and a hop."""
    totals: dict[tuple[str, int], Row] = {}
    for which in ("same", "cross"):
        for k, measured in zip((10, 50), t.micro2["hops"][which], strict=True):
            micro = programs.hops(t.sleep(5), k, t.sleep(5000), cross=which == "cross")
            totals[which, k] = row = _row("hops", f"{which} {k}", micro, t.costs, measured, which == "cross")
            yield row
        few, many = totals[which, 10], totals[which, 50]
        a_hop = (many.predicted - few.predicted) / 40, (many.measured - few.measured) / 40
        yield Row("hops", f"{which} a hop", *a_hop, fitted=which == "cross")


def wakes(t: Tables) -> Iterator[Row]:
    """Lateness of a wait for an event."""
    kernel = t.sleep(1000)
    for how in ("spin", "blocking"):
        predicted = programs.wake(kernel, how).predict(t.costs) + kernel.ns - 1_000_000
        yield Row("wake-up", how, predicted / 1000, t.micro2["wake"][how][0], fitted=True)


def gil(t: Tables) -> Iterator[Row]:
    """Launches of a thread beside one of pure Python."""
    micro = programs.beside_python(t.add(4096), 3000, 30_000_000)
    yield _row("GIL", "a launch beside Python", micro, t.costs, t.micro2["gil"]["launch_contended_us"])


def graph_launches(t: Tables) -> Iterator[Row]:
    """Graphs of 13 bodies: end to end, and back to back. The shortest graph of each gave the kernel's duration.

    Of the others only the middle ones, back to back, are in no constant.
    """
    rows = t.micro2["graph_launch"]
    for row in rows:
        body, n = row["body"], row["n"]
        graph = body_graph(t, body, next(r["pipelined"] for r in rows if (r["body"], r["n"]) == (body, 100)), n)
        alone, train = programs.replay(graph), programs.replays_back_to_back(graph, 20)
        yield _row("graph launch", f"{body} {n} e2e", alone, t.costs, row["e2e"], fitted=True)
        yield _row("graph launch", f"{body} {n} pipelined", train, t.costs, row["pipelined"], n != 400)


def graph_calls(t: Tables) -> Iterator[Row]:
    """Host time of launching the same graphs while the device is busy."""
    for row in t.micro2["graph_launch"]:
        graph = body_graph(t, row["body"], 100.0, row["n"])
        micro = programs.busy_calls(Replay("graph", graph), 10, t.sleep(30_000), "cudaGraphLaunch")
        yield _row("graph call", f"{row['body']} {row['n']}", micro, t.costs, row["host_busy"], fitted=True)


def body_graph(t: Tables, body: str, pipelined: float, n: int) -> Graph:
    """A graph of ``n`` times this body; ``pipelined`` is the period of such graphs of 100."""
    constants = t.costs.constants
    fork = body == "forkjoin"
    gap = constants.graph_join_gap if fork else constants.graph_gap
    ns = round((nanoseconds(pipelined) - constants.replay_gap + gap) / 100) - gap
    kernel = Kernel(body, "elementwise", ns, 0.06 if fork else 1.0)
    if not fork:
        return Graph((kernel,) * n)
    pairs: list[tuple[int, ...]] = [(2 * i - 2, 2 * i - 1) if i else () for i in range(n) for _ in range(2)]
    return Graph((kernel,) * (2 * n), tuple(pairs))


def concurrency(t: Tables) -> Iterator[Row]:
    """1 to 8 streams of 60 kernels each, and two streams of unequal work."""
    product = Kernel("mm", "gemm", nanoseconds(t.profiled["mm64x1024_stream"]["dur"]["p50"]), t.square(64).sm)
    kernels = {"sleep20": t.sleep(20), "add": t.add(4096), "mm64x1024": product}
    for row in t.micro2["concurrency"]:
        op, k, n = row["op"], row["streams"], row["per_stream"]
        streams: dict[str, Sequence[Op]] = {f"s{i}": [kernels[op]] * n for i in range(k)}
        micro = programs.behind_shield(t.sleep(12_000), programs.forked(streams, in_turns=True))
        fitted = op == "add" and k >= 4
        yield _row("concurrency", f"{op} on {k}", micro, t.costs, row["us"], fitted)
    for name, row in t.micro["concurrency"].items():
        for alone, ops in zip("ab", _pair(t, name), strict=True):
            micro = programs.behind_shield(t.sleep(3000), [Launch(ops, MAIN)])
            fitted = (name, alone) == ("copy+mm4096x5", "a")
            yield _row("concurrency", f"{name}: {alone} alone", micro, t.costs, row[alone], fitted)
        both = programs.forked(dict(zip("ab", _pair(t, name), strict=True)), in_turns=False)
        micro = programs.behind_shield(t.sleep(3000), both)
        yield _row("concurrency", f"{name}: both", micro, t.costs, row["both"])


def _pair(t: Tables, name: str) -> tuple[list[Op], list[Op]]:
    """The operations of the two streams of a measured pair, by its name."""
    first, second = name.split("+")
    return _ops(t, first), _ops(t, second)


def _ops(t: Tables, name: str) -> list[Op]:
    if name == "sleep100":
        return [t.sleep(100)]
    if name == "copy":
        return [t.durations.copy_on_device(1 << 29)]
    if name == "h2d128M":
        return [t.durations.copy("h2d", 1 << 27)]
    n, count = name.removeprefix("mm").split("x")
    return [t.square(int(n))] * int(count)


def _row(group: str, name: str, micro: Micro, costs: HostCosts, measured: float, fitted: bool = False) -> Row:
    return Row(group, name, micro.predict(costs) / 1000, measured, fitted)


def everything(t: Tables) -> Iterator[Row]:
    """All groups; the matmuls on a host as slow as their smallest row says."""
    for group in (chains, first_replays, unshielded, hops, wakes, gil, graph_launches, graph_calls, concurrency):
        yield from group(t)
    yield from matmuls(t, t.scaled(drift(t)))
