"""Products and additions as programs have them, hot and cold in the L2 cache, at the clocks of a short program.

``python -m gpu.calibration.measure_programs FOLDER`` writes ``programs.json``; the names of kernels are those that a
profiler tells in a process of its own, and that is the same command with ``--tiles``. Times are microseconds, kernel
plus graph gap.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu.calibration.clock import (
    BF16,
    DEV,
    SHIELD,
    capture,
    cycles_per_us,
    elapsed,
    quantile,
    rand,
    repeated,
    replay_us,
    sleep_us,
)
from gpu.calibration.measure_profiled import kernels_of
from gpu.calibration.measure_programs_plan import COLD, MIB, looked_up, products_and_sets
from gpu.calibration.provenance import provenance
from sim.timeline.chrome import replacing

COMMAND = "python -m gpu.calibration.measure_programs"
REST, LARGE = 0.01, 20.0
"""Seconds that the device idles before each run of kernels longer than so many microseconds: clocks fall at the power
limit, within 60 ms of large products. Clocks of an idle device are low at first, which shorter kernels would show."""
REPEATS, CALLS = 7, 24
ELEMENTS = (1 << 16, 1 << 19, 1 << 20, 1 << 21, 3 << 20, 1 << 22, 1 << 23, 1 << 24)
Row = dict[str, Any]


def programs() -> dict[str, list[Row]]:
    """Products by how many sets of operands take turns, and additions likewise."""
    products = [_product(*each) for each in products_and_sets()]
    adds = []
    for elements in ELEMENTS:
        for sets in (1, max(2, -(-COLD * MIB // (12 * elements)))):
            operands = [tuple(torch.randn(elements, device=DEV) for _ in range(3)) for _ in range(sets)]
            us = rested([partial(torch.add, x, y, out=z) for x, y, z in operands])
            adds.append({"elements": elements, "sets": sets, "us": us})
    return {"products": products, "adds": adds}


def _product(m: int, n: int, k: int, sets: int) -> Row:
    """One left operand and result, ``sets`` of weights in turn."""
    x, y = rand(m, k), torch.empty(m, n, device=DEV, dtype=BF16)
    weights = [rand(k, n) for _ in range(sets)]
    us = rested([partial(torch.mm, x, w, out=y) for w in weights])
    return {"m": m, "n": n, "k": k, "sets": sets, "us": us}


def rested(calls: Sequence[Callable[[], Any]]) -> float:
    """Microseconds a call in turn: a graph of twice the calls less one of once, each behind a run of it."""
    torch.cuda.synchronize()
    once = elapsed(lambda: [call() for call in calls]) / len(calls)
    times = max(1, min(CALLS, round(2000 / max(1.0, once))) // len(calls))
    graphs = [capture(repeated(calls, number)) for number in (times, 2 * times)]

    def run(graph: torch.cuda.CUDAGraph) -> float:
        torch.cuda.synchronize()
        if once < LARGE:
            return replay_us(graph)
        time.sleep(REST)
        graph.replay()
        sleep_us(SHIELD)
        return elapsed(graph.replay)

    few, many = zip(*([run(graph) for graph in graphs] for _ in range(REPEATS)), strict=True)
    return round((quantile(many, 0.5) - quantile(few, 0.5)) / (times * len(calls)), 4)


def tiles() -> list[Row]:
    """The kernel that the library takes for each product, and how many blocks it launches."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for m, n, k in looked_up():
            a, b, c = rand(m, k), rand(k, n), torch.empty(m, n, device=DEV, dtype=BF16)
            torch.mm(a, b, out=c)
            kernel = kernels_of(partial(torch.mm, a, b, out=c), Path(scratch) / "trace.json")[-1]
            x, y, z = kernel["args"]["grid"]
            rows.append({"m": m, "n": n, "k": k, "blocks": x * y * z, "name": kernel["name"][:80]})
    return rows


def main(folder: Path, *, names: bool) -> None:
    """Measure everything, or only add the names to what is there."""
    path = folder / "programs.json"
    if names:
        document = json.loads(path.read_text()) | {"tiles": tiles()}
    else:
        folder.mkdir(parents=True, exist_ok=True)
        document = {"provenance": provenance(COMMAND) | {"cycles_per_us": cycles_per_us()}, **programs()}
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(document))


if __name__ == "__main__":
    main(Path(sys.argv[1]), names="--tiles" in sys.argv)
    if "--tiles" not in sys.argv:
        subprocess.run([sys.executable, "-m", "gpu.calibration.measure_programs", sys.argv[1], "--tiles"], check=True)  # noqa: S603  our own module
