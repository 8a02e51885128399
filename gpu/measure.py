"""A scenario run for real in all its modes: the same numbers as a prediction's, with their noise."""

from __future__ import annotations

import numpy as np

from gpu.backend import On, described, notes
from gpu.machines.emulated import EmulatedDevice
from gpu.machines.emulated_stream import Slept
from gpu.machines.serving import LoweredServing
from gpu.programs.session import ProgramSession
from gpu.session import Session, open_session
from gpu.tokens import Tokens, received, tokens_sentence
from scenarios.loader import LoadedScenario
from sim.studies.report import time
from sim.studies.results import Progress, Results, modes_of, results_of
from sim.timeline.spans import Timeline

REPEATS = 5


def measure(
    loaded: LoadedScenario, on: On, seed: int = 0, progress: Progress = lambda _: None, repeats: int = REPEATS
) -> tuple[Results, dict[str, Tokens]]:
    """Each mode once to warm up, then all modes in turn, ``repeats`` times over; the tokens of the last turn.

    In turn, so that a host or a clock that drifts does so under all modes alike. Raises ``ScenarioError`` as
    ``open_session`` does.
    """
    progress("making ready")
    session = open_session(loaded, on, seed)
    modes = modes_of(loaded.scenario)
    runs: dict[str, list[Timeline]] = {mode: [] for mode in modes}
    tokens: dict[str, Tokens] = {}
    slept: list[Slept] = []
    try:
        for mode in modes:
            progress(f"{mode}, warming up")
            session.run(mode)
        for turn in range(1, repeats + 1):
            for mode in modes:
                progress(f"{mode}, run {turn} of {repeats}")
                runs[mode].append(session.run(mode))
                slept += kernels_slept(session)
                if (sampled := session.sampled()) is not None:
                    tokens[mode] = received(sampled, runs[mode][-1])
    finally:
        session.close()
    results = results_of(loaded, seed, runs, described(loaded, on, repeats))
    results.notes += notes(loaded, on)
    if slept:
        results.notes.append(sleep_error(slept))
    if tokens:
        results.notes.append(tokens_sentence(tokens))
    return results, tokens


def kernels_slept(session: Session) -> list[Slept]:
    """The kernels of an emulated session's latest run; of another nothing."""
    device = session.device if isinstance(session, LoweredServing | ProgramSession) else None
    return device.slept if isinstance(device, EmulatedDevice) else []


def sleep_error(slept: list[Slept]) -> str:
    """How exactly kernels were slept, beside how long they are, as a sentence."""
    length = float(np.median([kernel.ns for kernel in slept])) / 1000
    median, p95 = (float(q) / 1000 for q in np.quantile([kernel.late for kernel in slept], [0.5, 0.95]))
    return (
        f"sleep error: {len(slept):,} kernels of {time(length)} in the median ended {time(median)} late in the median, "
        f"{time(p95)} at p95"
        + (": too short to be slept one by one, so that the device's columns say little" if p95 > length else "")
    )
