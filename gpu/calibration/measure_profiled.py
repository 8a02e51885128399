"""Durations of kernels and the gaps between them as the profiler stamps them, written to ``profiled.json``.

``python -m gpu.calibration.measure_profiled OUT_DIR``, in a process of its own and never timed: a profiler that has
run once slows its process for good: by how much is what is timed here before it runs and after. Times are microseconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from gpu.calibration.clock import BF16, DEV, capture, cycles_per_us, rand, repeated, sleep_us, summary
from gpu.calibration.measure_device import call_us

KERNELS = 50
"""Of one kind, one after the other."""
NODES = (100, 400, 800)
"""Of graphs whose launch is timed before the profiler runs and after."""


def profiled(scratch: Path) -> dict[str, Any]:
    """Five kernels in a stream and in a graph. The folder ``scratch`` holds a trace in between."""
    cycles_per_us()
    x, y = torch.randn(1024, device=DEV), torch.randn(1024, device=DEV)
    a, b, c = rand(64, 64), rand(64, 64), torch.empty(64, 64, device=DEV, dtype=BF16)
    w, h, o = rand(1024, 1024), rand(64, 1024), torch.empty(64, 1024, device=DEV, dtype=BF16)
    m, n, p = rand(1024, 1024), rand(1024, 1024), torch.empty(1024, 1024, device=DEV, dtype=BF16)
    bodies: dict[str, Callable[[], Any]] = {
        "add_out": partial(torch.add, x, y, out=x),
        "mm_out": partial(torch.mm, a, b, out=c),
        "mm64x1024": partial(torch.mm, h, w, out=o),
        "mm1024": partial(torch.mm, m, n, out=p),
        "sleep5us": partial(sleep_us, 5),
    }
    launched = {nodes: capture(repeated([bodies["add_out"]], nodes)) for nodes in NODES}
    launches: dict[str, Any] = {"op_before": call_us(bodies["add_out"]), "graph_before": _launches(launched)}
    trains = {name: repeated([body], KERNELS) for name, body in bodies.items()}
    graphs = {name: capture(train) for name, train in trains.items()}
    out: dict[str, Any] = {}
    for name, train in trains.items():
        for kind, run in (("stream", train), ("graph", graphs[name].replay)):
            events = kernels_of(run, scratch / "trace.json")[-KERNELS:]
            gaps = [after["ts"] - (before["ts"] + before["dur"]) for before, after in pairwise(events)]
            out[f"{name}_{kind}"] = {
                "dur": summary([e["dur"] for e in events]),
                "gap": summary(gaps),
                "grid": events[-1]["args"].get("grid"),
                "name": events[-1]["name"][:80],
            }
    launches |= {"op_after": call_us(bodies["add_out"]), "graph_after": _launches(launched)}
    return out | {"launches": launches}


def _launches(graphs: dict[int, torch.cuda.CUDAGraph]) -> dict[str, float]:
    """Host time of launching graphs, by their nodes."""
    return {str(nodes): call_us(graph.replay) for nodes, graph in graphs.items()}


def kernels_of(run: Callable[[], Any], trace: Path) -> list[dict[str, Any]]:
    """The kernels that a call launches behind a sleep, in the order in which they ran."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as prof:
        sleep_us(2000)
        run()
        torch.cuda.synchronize()
    prof.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e.get("cat") == "kernel"]
    trace.unlink()
    return sorted(events, key=lambda e: float(e["ts"]))


def main() -> None:
    """Measure into the folder that is named on the command line."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "profiled.json").write_text(json.dumps(profiled(out), indent=1))


if __name__ == "__main__":
    main()
