"""The files of a run: numbers, timeline and picture, all of them or none."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from errno import EISDIR
from os import strerror
from pathlib import Path

from scenarios.errors import Problem, ScenarioError
from scenarios.scenario import Serving
from sim.studies.load_picture import draw_load
from sim.studies.results import Results
from sim.studies.table import time
from sim.timeline.chrome import replacing, write_chrome_trace
from sim.timeline.picture import draw_modes, draw_program
from sim.timeline.spans import Timeline

STEPS_SHOWN = 3
SPANS_TRACED = 200_000
TIMES = ("arrival", "scheduled", "first", "last")


def check_folder(folder: Path) -> None:
    """Raise ``ScenarioError`` for a place where no folder can be, before anything is computed for it."""
    parts = (folder, *folder.parents)
    for part in parts:
        if part.exists():
            if not part.is_dir():
                raise ScenarioError([Problem("--out", "", f"{part} is a file, expected a folder")])
            if not os.access(part, os.W_OK):
                raise ScenarioError([Problem("--out", "", f"{part} cannot be written to")])
            return


def write_files(folder: Path, results: Results) -> list[Path]:
    """Write ``summary.json``, ``timeline.json`` and ``timeline.png`` into ``folder``, which is made if needed.

    Of clients in an open or closed loop ``requests.csv`` has every request, and ``load.png`` shows how full the server
    was; a run that kept no spans has no timeline. All take their places once all are complete; a folder made for them
    goes again when one cannot be written.
    """
    writers: dict[str, Callable[[Path, Results], None]] = {"summary.json": _write_summary}
    if isinstance(scenario := results.loaded.scenario, Serving) and scenario.workload.batch is None:
        writers |= {"requests.csv": _write_requests, "load.png": _draw_load}
    if all(len(timeline.table) for timeline in results.timelines.values()):
        writers |= {"timeline.json": _write_timeline, "timeline.png": draw_results}
    paths = [folder / name for name in writers]
    if taken := next((path for path in paths if path.is_dir()), None):
        raise IsADirectoryError(EISDIR, strerror(EISDIR), str(taken))
    with _made(folder), ExitStack() as stack:
        for path, write in zip(paths, writers.values(), strict=True):
            write(stack.enter_context(replacing(path)), results)
    return paths


def _write_summary(path: Path, results: Results) -> None:
    path.write_text(json.dumps(results.as_json(), indent=2) + "\n")


def _write_timeline(path: Path, results: Results) -> None:
    loaded = results.loaded
    about = {"scenario": loaded.source, "digest": loaded.digest, "profile": loaded.profile.name}
    if results.measured is not None:
        about["measured"] = str(results.measured)
    whole = results.timelines
    ends = {m: int(t.column("start")[min(SPANS_TRACED, len(t.table)) - 1]) for m, t in whole.items()}
    shown = {mode: timeline.window(0, ends[mode] + 1) for mode, timeline in whole.items()}
    if any(len(t.table) > SPANS_TRACED for t in whole.values()):
        about["cut"] = f"after {SPANS_TRACED:,} spans of each mode: a viewer takes no more"
    write_chrome_trace(path, shown, about)


def _write_requests(path: Path, results: Results) -> None:
    """A line a mode and a request: the clock's times in nanoseconds, and tokens."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("mode", "server", "request", *(f"{name}_ns" for name in TIMES), "context", "tokens", "reason"))
        for mode, servers in _servers(results).items():
            for number, timeline in enumerate(servers):
                for s in timeline.served:
                    times = (getattr(s, name) for name in TIMES)
                    out.writerow((mode, number, s.request, *times, s.context, s.tokens, s.reason))


def _servers(results: Results) -> dict[str, list[Timeline]]:
    return results.servers or {mode: [timeline] for mode, timeline in results.timelines.items()}


def _draw_load(path: Path, results: Results) -> None:
    draw_load(path, _servers(results), results.loaded.scenario.title)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Have the folder, and its parents; when the block fails, remove those that were made."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in new:
            path.rmdir()
        raise


def draw_results(picture: Path, results: Results) -> None:
    """Draw all modes, the first few steady steps of a server and the whole of a program."""
    loaded = results.loaded
    if loaded.scenario.kind != "serving":
        notes = {mode: f"{time(n['total_us'])}, {n['speedup']:.2f}x" for mode, n in results.modes.items()}
        draw_program(picture, results.timelines, loaded.scenario.title, notes)
    else:
        notes = {mode: f"{time(n['step_us'])} a step, {n['speedup']:.2f}x" for mode, n in results.modes.items()}
        windows = {mode: _shown(results.timelines[mode], results.windows[mode]) for mode in results.modes}
        draw_modes(picture, results.timelines, loaded.scenario.title, notes, windows)


def _shown(timeline: Timeline, window: tuple[int, int]) -> tuple[int, int]:
    """The first few steady steps, which is what a picture has room for."""
    times = [d.time for d in timeline.deliveries if window[0] <= d.time <= window[1]]
    return window[0], times[min(STEPS_SHOWN, len(times) - 1)] if len(times) > 1 else window[1]
