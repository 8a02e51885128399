"""The host's part of a check-up: whether its pace holds, and what the GIL costs. Needs no GPU and no torch."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from statistics import median

from gpu.calibration.provenance import cpu_model
from gpu.doctor.compared import spread
from gpu.doctor.report import HOST_LIMIT, Line, at_most, close, same
from scenarios.profile import Profile

ROUNDS, REPEATS, ADDITIONS = 12, 40, 20_000
"""Rounds of the micro-loop over a run, loops in a round, additions in a loop."""
WAITS = 20


def host_lines(profile: Profile, tell: Callable[[str], None], *, alone: bool = True) -> Iterator[Line]:
    """The processor's name, the drift of a loop in Python, and how long a thread waits for the GIL.

    ``alone``: nothing else tells how far this host drifts. Beside calls that were timed over the whole run, which
    predictions are made of, a loop that comes and goes is told only.
    """
    yield same("CPU", cpu_model(), profile.provenance.cpu)
    yield same("Python", sys.version.split()[0], profile.provenance.python)
    tell("the host's pace")
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(median(_loop() for _ in range(REPEATS)))
        time.sleep(0.05)  # drift comes with time, not with repeats
    yield at_most("drift of a Python loop", spread(rounds), HOST_LIMIT, "", "spread" if alone else "told")
    tell("the GIL")
    waited = median(gil_waits())
    expected = profile.constants.gil_switch_interval.value / 1000
    yield close("wait for the GIL beside pure Python", waited, expected, "us", "told", 1.25)


def gil_waits() -> list[float]:
    """How long a thread waits each time it lets go of the GIL while another computes in pure Python (us)."""
    waits: list[float] = []
    done = threading.Event()

    def yields() -> None:
        for _ in range(WAITS):
            start = time.perf_counter_ns()
            time.sleep(0)
            waits.append((time.perf_counter_ns() - start) / 1000)
        done.set()

    other = threading.Thread(target=yields)
    other.start()
    while not done.is_set():
        _loop()
    other.join()
    return waits


def _loop() -> float:
    start = time.perf_counter_ns()
    total = 0
    for number in range(ADDITIONS):
        total += number
    return (time.perf_counter_ns() - start) / 1000
