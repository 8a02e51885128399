"""What calls, waits and threads cost the host, and many streams the device. Times are microseconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from gpu.calibration.clock import (
    BF16,
    DEV,
    capture,
    cycles,
    elapsed,
    new_event,
    new_stream,
    now,
    quantile,
    rand,
    repeated,
    sleep,
    sleep_us,
    summary,
)
from gpu.kernels.decode_attention import combine_kernel

THREADS = 15
"""Threads whose launches are timed beside pure Python."""


def host_calls() -> dict[str, Any]:
    """Host time of calls while the device is busy."""
    return {name: summary(call_samples(fn)) for name, fn in calls_timed().items()}


def calls_timed() -> dict[str, Callable[[], Any]]:
    """Calls by name, on tiny tensors, so that the call and nothing else is timed."""
    x, y, w = rand(16, 64), rand(16, 64), rand(64)
    a, b, c = rand(64, 64), rand(64, 64), torch.empty(64, 64, device=DEV, dtype=BF16)
    idx, pool, o = torch.arange(16, device=DEV), rand(4096, 64), torch.empty_like(x)
    pos, stream, ev = torch.zeros(16, device=DEV, dtype=torch.int64), new_stream(), new_event()
    pinned = torch.empty(1024, dtype=torch.int32, pin_memory=True)
    dst = torch.empty(1024, dtype=torch.int32, device=DEV)
    q, k = rand(16, 4, 1, 64), rand(16, 4, 64, 64)
    parts, stats = torch.zeros(64, 2, 64, device=DEV), torch.ones(64, 2, 2, device=DEV)
    out = torch.empty(64, 64, device=DEV, dtype=BF16)
    graph = capture(lambda: torch.add(x, y, out=o))
    return {
        "sleep": lambda: sleep(10),
        "add_out": lambda: torch.add(x, y, out=o),
        "add": lambda: x + y,
        "mul": lambda: x * y,
        "mm_out": lambda: torch.mm(a, b, out=c),
        "linear": lambda: functional.linear(a, b),
        "silu": lambda: functional.silu(x),
        "rms_norm": lambda: functional.rms_norm(x, (64,), w),
        "embedding": lambda: functional.embedding(idx, pool),
        "pow": lambda: x.pow(2),
        "mean": lambda: x.mean(-1, keepdim=True),
        "rsqrt": x.rsqrt,
        "to_float": x.float,
        "cat": lambda: torch.cat((x, y)),
        "neg": x.neg,
        "index_copy": lambda: pool.index_copy_(0, idx, x),
        "index_select_out": lambda: torch.index_select(pool, 0, idx, out=o),
        "argmax": lambda: torch.argmax(x, -1),
        "sdpa": lambda: functional.scaled_dot_product_attention(q, k, k),
        "fill": lambda: pos.fill_(0),
        "h2d_pinned": lambda: dst.copy_(pinned, non_blocking=True),
        "d2h_pinned": lambda: pinned.copy_(dst, non_blocking=True),
        "event_record": partial(ev.record, torch.cuda.current_stream()),
        "stream_wait": lambda: stream.wait_event(ev),
        "event_query": ev.query,
        "replay": graph.replay,
        "triton": lambda: combine_kernel[(64,)](parts, stats, out, 2, SPLITS_PAD=2, DIM=64),
    }


def call_samples(fn: Callable[[], Any]) -> list[float]:
    """What each of 400 calls takes the host while the device is busy."""
    for _ in range(20):
        fn()
    torch.cuda.synchronize()
    sleep_us(15000)
    ts = []
    for _ in range(400):
        t = now()
        fn()
        ts.append((now() - t) / 1e3)
    torch.cuda.synchronize()
    return ts


def synchronization() -> dict[str, Any]:
    """What a wait costs when nothing is pending, and how late it returns when something is."""
    ev, blocking = new_event(), new_event(blocking=True)
    stream = torch.cuda.current_stream()
    x = torch.zeros(1024, device=DEV)
    pinned = torch.empty(1024, pin_memory=True)
    out: dict[str, Any] = {}
    ev.record()
    torch.cuda.synchronize()
    out["event_sync_nothing"] = _lateness(ev.synchronize, 0)
    out["event_query_done"] = _lateness(ev.query, 0)
    out["stream_sync_nothing"] = _lateness(stream.synchronize, 0)
    out["device_sync_nothing"] = _lateness(torch.cuda.synchronize, 0)
    copy_back = partial(pinned.copy_, x, non_blocking=True)
    for us in (20, 200, 1000):
        busy = partial(sleep, cycles(us))
        graph = capture(busy)
        waits: dict[str, tuple[Callable[[], Any], ...]] = {
            f"sleep{us}_event_spin": (busy, ev.record, ev.synchronize),
            f"sleep{us}_event_blocking": (busy, blocking.record, blocking.synchronize),
            f"sleep{us}_stream_sync": (busy, stream.synchronize),
            f"sleep{us}_device_sync": (busy, torch.cuda.synchronize),
            f"graph_sleep{us}_event_spin": (graph.replay, ev.record, ev.synchronize),
            f"graph_sleep{us}_device_sync": (graph.replay, torch.cuda.synchronize),
            f"sleep{us}_d2h_event_spin": (busy, copy_back, ev.record, ev.synchronize),
        }
        out |= {name: _lateness(_in_turn(*calls), us) for name, calls in waits.items()}
    out["event_sync_fired_before"] = _fired_before(ev)
    return out


def _in_turn(*calls: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for call in calls:
            call()

    return run


def _lateness(fn: Callable[[], Any], minus: float, n: int = 60) -> dict[str, float]:
    ts = []
    for _ in range(n):
        torch.cuda.synchronize()
        t = now()
        fn()
        ts.append((now() - t) / 1e3 - minus)
    return summary(ts)


def _fired_before(ev: torch.cuda.Event) -> dict[str, float]:
    """A wait for an event that fired while the host did something else."""
    ts = []
    for _ in range(60):
        torch.cuda.synchronize()
        sleep(1000)
        ev.record()
        end = now() + 100_000
        while now() < end:
            pass
        t = now()
        ev.synchronize()
        ts.append((now() - t) / 1e3)
    return summary(ts)


def gil() -> dict[str, Any]:
    """A launching thread beside a thread of pure Python: when each launch returned, and on which core.

    Every run has a new thread, since what launching from one costs is drawn with the thread.
    """
    x, y = torch.zeros(4096, device=DEV), torch.zeros(4096, device=DEV)
    stamps: list[int] = []
    began: list[int] = []

    core = -1

    def launch(n: int = 3000) -> None:
        nonlocal core
        began.append(now())
        for _ in range(n):
            torch.add(x, y, out=x)
            stamps.append(now())
        core = _core()

    def pure(ms: float) -> tuple[int, int, int]:
        start = now()
        stop, count = start + ms * 1e6, 0
        while now() < stop:
            count += 1
        return start, now(), count

    launch()
    torch.cuda.synchronize()
    alone = (stamps[-1] - began[0]) / 3e6
    stamps.clear()
    began.clear()
    other = threading.Thread(target=launch)
    other.start()
    other.join()
    torch.cuda.synchronize()
    second = (stamps[-1] - began[0]) / 3e6
    count_alone = pure(30)[2]
    runs = []
    for _ in range(THREADS):
        stamps.clear()
        began.clear()
        other = threading.Thread(target=launch)
        other.start()
        start, stop, count = pure(30)
        other.join()
        torch.cuda.synchronize()
        during = [s for s in stamps if start <= s <= stop]
        after = [s for s in stamps if s > stop]
        runs.append(
            {
                "launch_us": (stamps[-1] - began[0]) / 3e6,
                "total_ms": (stamps[-1] - began[0]) / 1e6,
                "launches_during": len(during),
                "during_at_ms": [round((s - start) / 1e6, 3) for s in during[:16]],
                "first_after_ms": (after[0] - stop) / 1e6,
                "after_us": (after[-1] - after[0]) / 1e3 / (len(after) - 1),
                "before_start_ms": (start - began[0]) / 1e6,
                "pure_ms": (stop - start) / 1e6,
                "pure_count": count,
                "pure_alone": count_alone,
                "core": core,
                "core_of_first": _core(),
            }
        )
    return {"alone_us": alone, "second_thread_us": second, "switch_interval_s": sys.getswitchinterval(), "runs": runs}


def _core() -> int:
    """The processor that the calling thread was last seen on, -1 where the system does not tell."""
    told = Path(f"/proc/self/task/{threading.get_native_id()}/stat")
    return int(told.read_text().rsplit(")", 1)[1].split()[36]) if told.exists() else -1


def streams() -> list[dict[str, Any]]:
    """Total time of many small kernels over several streams, all queued beforehand."""
    x, y = torch.zeros(4096, device=DEV), torch.zeros(4096, device=DEV)
    rows = []
    for label, us in (("add", 0), ("sleep5", 5), ("sleep20", 20)):
        for k in (1, 2, 3, 4, 6, 8, 16):
            outs = [torch.empty_like(x) for _ in range(k)]
            ops = [partial(sleep, cycles(us)) if us else partial(torch.add, x, y, out=o) for o in outs]
            train = partial(_over_streams, [new_stream() for _ in range(k)], ops)
            times = []
            for _ in range(7):
                torch.cuda.synchronize()
                sleep_us(12000)
                times.append(elapsed(train))
            rows.append({"op": label, "streams": k, "per_stream": 50, "us": quantile(times, 0.5)})
    return rows


def _over_streams(ss: Sequence[torch.cuda.Stream], ops: Sequence[Callable[[], Any]]) -> None:
    """Fifty operations on each stream, dealt out in turn, between a fork and a join."""
    for s in ss:
        s.wait_stream(torch.cuda.current_stream())
    for _ in range(50):
        for s, op in zip(ss, ops, strict=True):
            with torch.cuda.stream(s):
                op()
    for s in ss:
        torch.cuda.current_stream().wait_stream(s)


def first_replays() -> list[dict[str, Any]]:
    """What a graph's first launch takes beyond a later one, end to end, over fresh captures of one size."""
    x, y = torch.zeros(1024, device=DEV), torch.zeros(1024, device=DEV)
    a, b, c = rand(64, 64), rand(64, 64), torch.empty(64, 64, device=DEV, dtype=BF16)
    bodies = {"add_out": partial(torch.add, x, y, out=x), "mm_out": partial(torch.mm, a, b, out=c)}
    rows = []
    for name, body in bodies.items():
        for nodes in (1, 20, 50, 200, 500, 1000):
            extra = []
            for _ in range(9):
                graph = capture(repeated([body], nodes))
                first, *later = (_end_to_end(graph) for _ in range(8))
                extra.append(first - quantile(later, 0.5))
            rows.append({"op": name, "nodes": nodes, "extra_us": summary(extra)})
    return rows


def _end_to_end(graph: torch.cuda.CUDAGraph) -> float:
    torch.cuda.synchronize()
    start = now()
    graph.replay()
    torch.cuda.synchronize()
    return (now() - start) / 1e3
