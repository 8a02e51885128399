"""What the driver and the device take around kernels: trains and graphs of them, hops, wake-ups, copies.

Times are microseconds; medians unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from gpu.calibration.clock import (
    BF16,
    DEV,
    capture,
    elapsed,
    new_event,
    new_stream,
    now,
    quantile,
    rand,
    repeated,
    sleep_us,
)

LENGTHS = (1, 100)
NODES = (100, 400, 800)
REPEATS = 15
SHIELD = 4000.0
"""How long the device sleeps in front of a train that is launched meanwhile."""
COPIES = (4, 256, 4096, 65536, 1 << 20, 16 << 20, 256 << 20)
Row = dict[str, Any]
Body = Callable[[], Any]


def device() -> Row:
    """All tables of this module, by name."""
    return {
        "chains": chains(),
        "graph_launch": graph_launches(),
        "hops": hops(),
        "concurrency": concurrency(),
        "wake": wakes(),
        "sync_nothing": _each(torch.cuda.synchronize),
        "first_blocked": first_blocked(),
        "copies": copies(),
    }


def _median(measure: Callable[[], float], times: int = REPEATS) -> float:
    measure()
    return round(quantile([measure() for _ in range(times)], 0.5), 4)


def _each(call: Body, times: int = 200) -> dict[str, float]:
    spent = []
    for _ in range(times):
        start = now()
        call()
        spent.append((now() - start) / 1e3)
    return {"p50": quantile(spent, 0.5), "p90": quantile(spent, 0.9)}


def _shielded(call: Body) -> float:
    """Device time of what a call enqueues while the device sleeps."""
    torch.cuda.synchronize()
    sleep_us(SHIELD)
    return elapsed(call)


def _host(call: Body) -> float:
    """Host time of a call while the device is busy."""
    torch.cuda.synchronize()
    sleep_us(SHIELD)
    start = now()
    call()
    return (now() - start) / 1e3


def _calls(call: Body) -> float:
    """Host time of one of many calls while the device is busy: a first one pays for cold caches."""
    torch.cuda.synchronize()
    sleep_us(SHIELD)
    spent = []
    for _ in range(20):
        start = now()
        call()
        spent.append((now() - start) / 1e3)
    return quantile(spent, 0.5)


def _end_to_end(call: Body) -> float:
    """From the call on an idle device to the return of synchronize."""
    torch.cuda.synchronize()
    start = now()
    call()
    torch.cuda.synchronize()
    return (now() - start) / 1e3


def chains() -> list[Row]:
    """One and a hundred of three kernels, in a stream and in a graph."""
    x, y = torch.randn(1024, device=DEV), torch.randn(1024, device=DEV)
    a, b, c = rand(64, 64), rand(64, 64), torch.empty(64, 64, device=DEV, dtype=BF16)
    ops: dict[str, Body] = {
        "add_out": partial(torch.add, x, y, out=x),
        "mm_out": partial(torch.mm, a, b, out=c),
        "sleep5us": partial(sleep_us, 5),
    }
    rows = []
    for name, op in ops.items():
        for n in LENGTHS:
            train = repeated([op], n)
            graph = capture(train)
            rows.append(
                {
                    "op": name,
                    "n": n,
                    "stream_gpu_us": _median(partial(_shielded, train)),
                    "graph_gpu_us": _median(partial(_shielded, graph.replay)),
                    "replay_host_busy": _median(partial(_calls, graph.replay), 5),
                    "eager_host": _median(partial(_host, train)),
                    "eager_e2e": _median(partial(_end_to_end, train)),
                    "graph_e2e": _median(partial(_end_to_end, graph.replay)),
                }
            )
    return rows


def graph_launches() -> list[Row]:
    """Launching graphs of several bodies: the host's share, back to back, and alone to the end."""
    x, y, z = (torch.randn(1024, device=DEV) for _ in range(3))
    a, b, c = rand(64, 64), rand(64, 64), torch.empty(64, 64, device=DEV, dtype=BF16)
    side, fork, join = new_stream(), new_event(), new_event()

    def forkjoin() -> None:
        main = torch.cuda.current_stream()
        fork.record()
        side.wait_event(fork)
        with torch.cuda.stream(side):
            torch.add(x, 1.0, out=z)
        torch.add(x, 1.0, out=y)
        join.record(side)
        main.wait_event(join)

    bodies: dict[str, Body] = {
        "mm": partial(torch.mm, a, b, out=c),
        "add": partial(torch.add, x, y, out=x),
        "exp": partial(torch.exp, x, out=y),
        "sin": partial(torch.sin, x, out=y),
        "forkjoin": forkjoin,
    }
    rows = []
    for name, body in bodies.items():
        for n in NODES:
            graph = capture(repeated([body], n))
            replays = repeated([graph.replay], 10)
            rows.append(
                {
                    "body": name,
                    "n": n,
                    "host_busy": _median(partial(_calls, graph.replay), 5),
                    "pipelined": round(_median(partial(_shielded, replays)) / 10, 4),
                    "e2e": _median(partial(_end_to_end, graph.replay)),
                }
            )
    return rows


def hops() -> dict[str, list[float]]:
    """Ten and fifty kernels of 5us that wait for each other by an event, in one stream and from stream to stream."""
    first, second = new_stream(), new_stream()

    def chain(streams: Sequence[Any], count: int) -> None:
        event = new_event()
        event.record()
        for i in range(count):
            with torch.cuda.stream(streams[i % len(streams)]):
                torch.cuda.current_stream().wait_event(event)
                sleep_us(5)
                event = new_event()
                event.record()
        torch.cuda.current_stream().wait_event(event)

    return {
        name: [_median(partial(_shielded, partial(chain, streams, count))) for count in (10, 50)]
        for name, streams in (("same", (first,)), ("cross", (first, second)))
    }


def concurrency() -> list[Row]:
    """Sixty tiny kernels on each of several streams, all launched beforehand."""
    x, y = torch.zeros(1024, device=DEV), torch.zeros(1024, device=DEV)
    rows = []
    for count in (4, 8):
        streams = [new_stream() for _ in range(count)]
        outs = [torch.empty_like(x) for _ in range(count)]

        def train(streams: list[Any] = streams, outs: list[torch.Tensor] = outs) -> None:
            start, main = new_event(), torch.cuda.current_stream()
            start.record()
            for stream, out in zip(streams, outs, strict=True):
                with torch.cuda.stream(stream):
                    stream.wait_event(start)
                    for _ in range(60):
                        torch.add(x, y, out=out)
                done = new_event()
                done.record(stream)
                main.wait_event(done)

        rows.append({"op": "add", "streams": count, "per_stream": 60, "us": _median(partial(_shielded, train), 7)})
    return rows


def wakes() -> dict[str, list[float]]:
    """How much later than a sleeping kernel ends on paper a host is back that waits for it: p50 and p90."""
    found = {}
    for name, event in (("spin", new_event()), ("blocking", new_event(blocking=True))):

        def wait(event: Any = event) -> float:
            torch.cuda.synchronize()
            start = now()
            sleep_us(1000)
            event.record()
            event.synchronize()
            return (now() - start) / 1e3 - 1000

        late = [wait() for _ in range(60)]
        found[name] = [round(quantile(late, 0.5), 4), round(quantile(late, 0.9), 4)]
    return found


def first_blocked() -> int:
    """How many launches go into a stream behind a sleep before one blocks."""
    x = torch.zeros(1024, device=DEV)
    torch.cuda.synchronize()
    sleep_us(60000)
    for number in range(1, 5000):
        start = now()
        x.add_(1)
        if now() - start > 5_000_000:
            torch.cuda.synchronize()
            return number
    raise RuntimeError("5000 launches went into a stream without blocking")


def copies() -> list[Row]:
    """Copies of several sizes between two timing events, and pageable ones as whole calls on touched memory."""
    rows = []
    for size in COPIES:
        on, other = (torch.empty(size, dtype=torch.uint8, device=DEV) for _ in range(2))
        pinned = torch.zeros(size, dtype=torch.uint8, pin_memory=True)
        pageable = torch.zeros(size, dtype=torch.uint8)
        few = 5 if size > 1 << 20 else REPEATS
        calls: dict[str, Body] = {
            "h2d_us": partial(on.copy_, pinned, non_blocking=True),
            "d2h_us": partial(pinned.copy_, on, non_blocking=True),
            "d2d_us": partial(other.copy_, on),
        }
        row: Row = {"bytes": size} | {name: _median(partial(_shielded, call), few) for name, call in calls.items()}
        row["pageable_h2d"] = _median(partial(_end_to_end, partial(on.copy_, pageable)), few)
        row["pageable_d2h"] = _median(partial(_end_to_end, partial(pageable.copy_, on)), few)
        rows.append(row)
    return rows
