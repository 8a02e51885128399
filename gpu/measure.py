"""A scenario run for real in all its modes: the same numbers as a prediction's, with their noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from gpu.backend import On, described, notes
from gpu.machines.emulated import EmulatedDevice
from gpu.machines.emulated_stream import Slept
from gpu.machines.serving import LoweredServing
from gpu.near_ties import near_ties
from gpu.profiling.profiled import profiled_spans
from gpu.programs.session import ProgramSession
from gpu.session import Session, open_session
from gpu.tokens import Tokens, first_divergences, received, tokens_sentence
from scenarios.loader import LoadedScenario
from scenarios.program import WithoutServer
from scenarios.training import Training
from sim.studies.results import Progress, Results, add_spans, results_of
from sim.studies.table import time
from sim.timeline.spans import Timeline

REPEATS = 5


@runtime_checkable
class KeepsMargins(Protocol):
    """A session that can tell how close its best two tokens were."""

    def margins(self, mode: str) -> tuple[Timeline, dict[int, list[tuple[float, float]]]]:
        """A run of a mode, and the two largest logits behind every token, by request."""


@runtime_checkable
class CapturesGraphs(Protocol):
    """A session that captures graphs of a server's steps."""

    def captured(self) -> Mapping[int, Captured]:
        """By bucket, what was captured."""


class Captured(Protocol):
    """What capturing a graph and first replaying it took (ns), and what it holds (bytes)."""

    capture_ns: int
    first_replay_ns: int
    memory: int


def measure(
    loaded: LoadedScenario,
    on: On,
    seed: int = 0,
    progress: Progress = lambda _: None,
    repeats: int = REPEATS,
    words: Sequence[str] | None = None,
) -> tuple[Results, bool]:
    """Each mode once to warm up, then all modes in turn, ``repeats`` times over; whether tokens are as they should be.

    In turn, so that a host or a clock that drifts does so under all modes alike. On a GPU the spans of the device come
    from a second process that profiles, for which ``words`` name the scenario as a command line does; None leaves them
    out. In float32 all modes must give the same tokens, in bf16 they may part at near ties. Raises ``ScenarioError`` as
    ``open_session`` does.
    """
    progress("making ready")
    session = open_session(loaded, on, seed)
    modes = loaded.modes
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
        results = results_of(loaded, seed, runs, described(loaded, on, repeats))
        results.notes += notes(loaded, on)
        if slept:
            results.notes.append(sleep_error(slept))
        if graphs := captures(session):
            results.graphs = graphs
            results.notes.append(captures_sentence(graphs))
        said, right = _judged(session, tokens, progress, float32=on == "cpu")
        results.notes += said
    finally:
        session.close()
    if on == "cuda" and words is not None and not isinstance(loaded.scenario, Training):
        progress("the same in a process that profiles")
        _add_profiled(results, loaded, words)
    return results, right


def _judged(
    session: Session, tokens: dict[str, Tokens], progress: Progress, *, float32: bool
) -> tuple[list[str], bool]:
    """What is to be said of the modes' tokens, and whether they are right."""
    if not tokens:
        return [], True
    if not first_divergences(tokens):
        return [tokens_sentence(tokens)], True
    if float32 or not isinstance(session, KeepsMargins):
        return [tokens_sentence(tokens)], False
    progress("why tokens differ")
    margins, again = {}, {}
    for mode in tokens:
        timeline, margins[mode] = session.margins(mode)
        again[mode] = received(session.sampled() or {}, timeline)
    found = near_ties(margins, again)
    return [str(found)], not found.others


def captures(session: Session) -> dict[int, dict[str, float]]:
    """What capturing took, for every graph, by the rows it was captured for."""
    captured = session.captured() if isinstance(session, CapturesGraphs) else {}
    return {
        rows: {
            "capture_ms": one.capture_ns / 1e6,
            "first_replay_us": one.first_replay_ns / 1000,
            "memory_mib": one.memory / 2**20,
        }
        for rows, one in sorted(captured.items())
    }


def captures_sentence(graphs: Mapping[int, Mapping[str, float]]) -> str:
    """All captures in a sentence."""
    capture, memory = (sum(one[key] for one in graphs.values()) for key in ("capture_ms", "memory_mib"))
    first = [one["first_replay_us"] for one in graphs.values()]
    replay = time(first[0]) if len(first) == 1 else f"{time(min(first))} to {time(max(first))}"
    many = f"{len(graphs)} buckets" if len(graphs) > 1 else f"{next(iter(graphs))} rows"
    return f"graphs of {many}: captured in {time(1000 * capture)}, hold {memory:.1f} MiB, first replay {replay}"


def _add_profiled(results: Results, loaded: LoadedScenario, words: Sequence[str]) -> None:
    key = "total_us" if isinstance(loaded.scenario, WithoutServer) else "step_us"
    clean = {mode: 1000 * numbers[key] for mode, numbers in results.modes.items()}
    spans = profiled_spans(loaded, words, clean)
    for mode, found in spans.items():
        add_spans(results, mode, found.timeline)
        results.modes[mode]["profiled"] = {
            "inflation": round(found.inflation, 4),
            "alignment_error_us": found.alignment_error_ns / 1000,
            "before_their_call": found.too_early,
        }
    worst = max(one.alignment_error_ns for one in spans.values()) / 1000
    inflated = ", ".join(f"{mode} {one.inflation:.2f}x" for mode, one in spans.items())
    results.notes.append(
        f"device columns and files: a second process that profiles, its steps as long as clean ones times: {inflated};"
        f" host and device on one clock to {time(worst)}"
    )


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
