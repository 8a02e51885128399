"""Spans from a second process, one that profiles, for a process that times and therefore never does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from gpu.profiling.handover import load
from gpu.session import On
from scenarios.errors import Problem, ScenarioError
from scenarios.loader import LoadedScenario
from scenarios.scenario import Serving
from sim.studies.program import program_metrics
from sim.timeline.metrics import step_metrics
from sim.timeline.spans import Timeline


@dataclass(frozen=True, slots=True)
class Profiled:
    """One mode's profiled run, host and device on one clock.

    ``alignment_error_ns``: by how much host and device may be shifted against each other. ``inflation``: its step, or
    a program's total, over that of a clean run. ``outside`` counts device work that no span of a thread launched,
    ``too_early`` work that starts before its call by more than the error, ``earliest_ns`` the most of it: where that is
    not 0, the order of spans across host and device cannot be trusted.
    """

    timeline: Timeline
    alignment_error_ns: int
    inflation: float
    outside: int
    too_early: int
    earliest_ns: int


def profiled_spans(
    loaded: LoadedScenario,
    arguments: Sequence[str],
    clean_ns: Mapping[str, float],
    on: On = "cuda",
    limit_s: float | None = None,
) -> dict[str, Profiled]:
    """Run modes of a scenario in a process that profiles, each after a warm-up.

    ``arguments`` are what named the scenario on the command line: the reference, then ``--set``, ``--model`` and
    ``--seed``. ``clean_ns`` is each mode's step time (a program's total), measured where nothing ever profiled. Raises
    ``ScenarioError`` with the last line that the process wrote when it fails, or when it takes longer than ``limit_s``.
    """
    with TemporaryDirectory(prefix="overlapsim-") as name:
        folder = Path(name)
        words = [*arguments, "--on", on, "--into", str(folder), *(w for mode in clean_ns for w in ("--mode", mode))]
        command = [sys.executable, "-m", "gpu.profiling", *words]
        try:
            done = subprocess.run(  # noqa: S603  our own module
                command, check=False, capture_output=True, text=True, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            message = f"the process that profiles was ended after {limit_s:.0f} s"
            raise ScenarioError([Problem(loaded.source, "", message)]) from None
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            message = f"the process that profiles ended with exit status {done.returncode}: {said}"
            raise ScenarioError([Problem(loaded.source, "", message)])
        found = {}
        for mode, clean in clean_ns.items():
            joined, error = load(folder, mode)
            inflation = step_ns(loaded, joined.timeline) / clean
            found[mode] = Profiled(joined.timeline, error, inflation, joined.outside, joined.too_early, joined.earliest)
        return found


def step_ns(loaded: LoadedScenario, timeline: Timeline) -> float:
    """What a mode is timed by: the step of a server, the total of a program (ns)."""
    if isinstance(loaded.scenario, Serving):
        return step_metrics(timeline, closed=loaded.scenario.workload.batch is not None).step_ns
    return program_metrics(timeline).total_ns
