"""How steadily this host computes: two short loops, timed over and over. Needs no GPU and no torch.

A neighbour on the same machine shows in them in two ways: arithmetic slows down where it takes turns on the cores, and
a walk through memory where it empties the caches that both share. ``python -m gpu.calibration.pace 5`` prints both,
measured for five seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

ADDITIONS = 20_000
"""Additions of a loop in Python, about half a millisecond."""
BYTES, LOOKS = 16 * 2**20, 20_000
"""A table that no core's own cache holds, and how many of its places a walk looks at."""
APART = 0.004
"""Seconds between two rounds, in which a server's thread would wait for its device."""
QUANTILES = (0.1, 0.5, 0.9)
Clock = Callable[[], int]


def pace(seconds: float, clock: Clock = time.perf_counter_ns) -> dict[str, dict[str, float]]:
    """Quantiles of what an arithmetic loop and a walk through memory take (us), each a few hundred times a second."""
    table = np.arange(BYTES // 8)
    places = np.random.default_rng(0).integers(0, len(table), LOOKS)

    def walk() -> None:
        table[places].sum()

    times: dict[str, list[int]] = {"arithmetic": [], "memory": []}
    until = clock() + seconds * 1e9
    while not times["memory"] or clock() < until:
        for name, loop in (("arithmetic", _additions), ("memory", walk)):
            start = clock()
            loop()
            times[name].append(clock() - start)
        time.sleep(APART)
    return {
        name: {f"p{round(100 * q)}": round(float(np.quantile(ns, q)) / 1000, 1) for q in QUANTILES}
        for name, ns in times.items()
    }


def _additions() -> None:
    total = 0
    for number in range(ADDITIONS):
        total += number


def sentence(found: dict[str, dict[str, float]]) -> str:
    """Such as ``host's pace, p10/p50/p90: arithmetic 510/512/530 us, memory 48/50/61 us``."""
    told = (f"{name} {'/'.join(f'{us:.0f}' for us in row.values())} us" for name, row in found.items())
    return "host's pace, p10/p50/p90: " + ", ".join(told)


def main() -> None:
    """Measure for some seconds and print."""
    parser = argparse.ArgumentParser(prog="python -m gpu.calibration.pace", description=main.__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=5.0, help="how long (default 5)")
    print(sentence(pace(parser.parse_args().seconds)))  # noqa: T201  what the command is for


if __name__ == "__main__":
    main()
