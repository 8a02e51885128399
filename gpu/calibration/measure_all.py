"""Everything that a profile of one CUDA GPU and its host is fitted to.

``python -m gpu.calibration.measure_all FOLDER`` writes ``host.json``, ``device.json``, ``kernels.json``,
``layers.json``, ``chunks.json`` and ``engine.json``, each as soon as it is measured, in a process that never profiles;
the profiler runs in a process of its own, which writes ``profiled.json``, and programs in another, which writes
``programs.json``. Times are microseconds, those of ``engine.json`` nanoseconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gpu.calibration import in_process
from gpu.calibration.clock import DEV, cycles_per_us
from gpu.calibration.measure_chunks import chunks
from gpu.calibration.measure_device import device
from gpu.calibration.measure_host import first_replays, gil, host_calls, streams, synchronization
from gpu.calibration.measure_kernels import kernels
from gpu.calibration.measure_layers import INPUT_WIDTH, layers
from gpu.calibration.pace import pace
from gpu.calibration.provenance import provenance
from gpu.model.llama import TILE
from sim.timeline.chrome import replacing

COMMAND = "overlapsim calibrate --on cuda"
SETTLE = 1.0
ENGINE_RUNS = 3
"""How often the engine's costs are taken at a time."""
AMONG_LAYERS = (0.33, 0.67)
"""Shares of the layers after which they are taken, too: a neighbour on the host comes and goes."""
PACE = 0.3
"""For how many seconds the host's own pace is taken beside them."""
Progress = Callable[[str, float], None]
"""Told what is being measured, and which share of the whole is done."""
SHARES = {"host": 0.1, "device": 0.1, "kernels": 0.05, "layers": 0.6, "profiled": 0.05}


def measure(folder: Path, progress: Progress = lambda _what, _done: None) -> list[str]:
    """Measure into a folder; the names of what failed. A part's error stands in the file in place of its table."""
    folder.mkdir(parents=True, exist_ok=True)
    campaign = _Campaign(folder)
    cycles_per_us()
    x = torch.zeros(1024, device=DEV)
    for _ in range(3000):
        x.add_(1)
    costs: dict[str, list[Any]] = {"runs": [], "prefill": [], "pace": []}
    done = 0.0

    def engine() -> None:
        in_process.measure()
        time.sleep(SETTLE)  # a host that has just freed gigabytes is slow for a while
        costs["runs"] += [in_process.measure() for _ in range(ENGINE_RUNS)]
        costs["pace"].append(pace(PACE))
        if len(costs["pace"]) % 2:  # these take longer, and scatter less
            of_prompts: dict[str, Any] = {}
            campaign.table(of_prompts, "prefill", in_process.measure_prefill)
            costs["prefill"].append(of_prompts["prefill"])

    progress("host", done)
    with campaign.file("host") as tables:
        for name, part in HOST.items():
            campaign.table(tables, name, part)
        campaign.table(tables, "host_calls_again", host_calls)
    done += SHARES["host"]
    with campaign.file("engine") as tables:
        engine()
        progress("device", done)
        with campaign.file("device") as more:
            campaign.table(more, "", device)
        done += SHARES["device"]
        progress("kernels", done)
        with campaign.file("kernels") as more:
            campaign.table(more, "", kernels)
        done += SHARES["kernels"]
        engine()
        with campaign.file("layers") as more:
            more |= {"row_tile": TILE, "input_width": INPUT_WIDTH, "rows": []}
            left = list(AMONG_LAYERS)
            for row, share in layers():
                if left and share > left[0]:
                    left.pop(0)
                    engine()
                more["rows"].append(row)
                progress(
                    f"layers of {row['model']}, {row['phase']} of {row['rows']} rows", done + share * SHARES["layers"]
                )
        done += SHARES["layers"]
        with campaign.file("chunks") as more:
            campaign.table(more, "", chunks)
        engine()
        tables.update(costs)
    progress("profiled", done)
    command = [sys.executable, "-m", "gpu.calibration.measure_profiled", str(folder)]
    if subprocess.run(command, check=False).returncode:  # noqa: S603  # our own module
        campaign.failed.append("profiled")
    progress("programs", done + SHARES["profiled"])
    command = [sys.executable, "-m", "gpu.calibration.measure_programs", str(folder)]
    if subprocess.run(command, check=False).returncode:  # noqa: S603  # our own module
        campaign.failed.append("programs")
    return campaign.failed


HOST: dict[str, Callable[[], Any]] = {
    "host_calls": host_calls,
    "synchronization": synchronization,
    "gil": gil,
    "streams": streams,
    "first_replays": first_replays,
}


class _Campaign:
    def __init__(self, folder: Path) -> None:
        self.failed: list[str] = []
        self._folder = folder
        self._about = provenance(COMMAND) | {"cycles_per_us": cycles_per_us()}

    @contextmanager
    def file(self, name: str) -> Iterator[dict[str, Any]]:
        """The tables of a file, written when they are complete."""
        tables: dict[str, Any] = {"provenance": self._about}
        yield tables
        with replacing(self._folder / f"{name}.json") as path:
            path.write_text(json.dumps(tables))

    def table(self, tables: dict[str, Any], name: str, part: Callable[[], Any]) -> None:
        """Measure a table, or all of a file's when it has no name."""
        try:
            found = part()
        except Exception as error:  # noqa: BLE001  # the other parts are worth having
            traceback.print_exc()
            found = {"error": repr(error)}
            self.failed.append(name)
        if name:
            tables[name] = found
        else:
            tables |= found


def main() -> None:
    """Measure into the folder that is named on the command line; exit status 1 when anything failed."""
    start = time.perf_counter()

    def told(what: str, done: float) -> None:
        print(f"{time.perf_counter() - start:6.1f} s {done:4.0%} {what}", flush=True)

    if failed := measure(Path(sys.argv[1]), told):
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
