"""Clocks for one CUDA GPU: a sleep of known length, graphs, and operations timed back to back.

Times are microseconds. The measuring scripts import this, never what CI runs: it needs torch, and its functions a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch

DEV = "cuda"
BF16 = torch.bfloat16
SHIELD = 300.0
"""How long the device sleeps in front of what is timed, so that all of it has been launched when it starts."""
WARM_UP = 5000.0
"""How long the device works before it is timed."""
now: Callable[[], int] = time.perf_counter_ns
sleep: Callable[[int], None] = torch.cuda._sleep  # noqa: SLF001  # the one kernel of torch whose length is an argument
"""Enqueue a kernel that spins for this many cycles of the device."""
# torch leaves these two constructors untyped
new_event: Callable[..., torch.cuda.Event] = torch.cuda.Event
new_stream: Callable[[], torch.cuda.Stream] = torch.cuda.Stream


def quantile(xs: Sequence[float], p: float) -> float:
    """The value below which a share ``p`` of the values lies, one of them."""
    return sorted(xs)[min(len(xs) - 1, int(p * len(xs)))]


def summary(xs: Sequence[float]) -> dict[str, float]:
    """Five quantiles, to the nanosecond."""
    return {f"p{int(p * 100)}": round(quantile(xs, p), 3) for p in (0.01, 0.1, 0.5, 0.9, 0.99)}


def elapsed(enqueue: Callable[[], Any]) -> float:
    """Device time from an event before to an event after what a call enqueues; the host's time is not hidden."""
    before, after = new_event(enable_timing=True), new_event(enable_timing=True)
    before.record()
    enqueue()
    after.record()
    torch.cuda.synchronize()
    return float(before.elapsed_time(after)) * 1e3


@cache
def cycles_per_us() -> float:
    """The device's clock rate, taken once a process: call it before anything else, never inside a capture."""
    sleep(1000)
    torch.cuda.synchronize()
    return 1e8 / elapsed(partial(sleep, 10**8))


def cycles(us: float) -> int:
    """A duration in cycles of the device."""
    return int(us * cycles_per_us())


def sleep_us(us: float) -> None:
    """Enqueue a kernel that runs this long."""
    sleep(cycles(us))


def rand(*shape: int) -> torch.Tensor:
    """Normally distributed numbers on the device."""
    return torch.randn(*shape, device=DEV, dtype=BF16)


def capture(fn: Callable[[], Any], stream: Any = None) -> torch.cuda.CUDAGraph:
    """A graph of what a call enqueues, on ``stream`` if its launches are bound to one.

    It runs once before, so that compiling and initialising are not captured.
    """
    side = stream or new_stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        fn()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        fn()
    torch.cuda.synchronize()
    return graph


def repeated(fns: Sequence[Callable[[], Any]], times: int) -> Callable[[], list[Any]]:
    """All calls in turn, ``times`` over; returning the results keeps them apart in memory until the end."""
    return lambda: [fn() for _ in range(times) for fn in fns]


def replay_us(graph: torch.cuda.CUDAGraph) -> float:
    """One replay, with the events' own time and the graph's start in it, behind enough of its like to warm the clocks.

    A device that has just idled runs its first matrix products up to a tenth faster than a server ever sees.
    """
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    before.record()
    graph.replay()
    after.record()
    torch.cuda.synchronize()
    once = max(1.0, float(before.elapsed_time(after)) * 1e3)
    for _ in range(min(200, int(WARM_UP / once))):
        graph.replay()
    sleep_us(SHIELD)
    return elapsed(graph.replay)


def per_op(fns: Sequence[Callable[[], Any]], repeat: int = 1, reps: int = 7) -> float:
    """Microseconds a call when the calls run back to back in a graph: kernel plus graph gap.

    Two graphs, one with twice the calls: in their difference, events and the start of a graph cancel.
    """
    graphs = [capture(repeated(fns, times)) for times in (repeat, 2 * repeat)]
    once, twice = zip(*([replay_us(graph) for graph in graphs] for _ in range(reps)), strict=True)
    return round((quantile(twice, 0.5) - quantile(once, 0.5)) / (repeat * len(fns)), 4)
