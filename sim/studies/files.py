"""The files of a run: numbers, timeline and picture, all of them or none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from errno import EISDIR
from os import strerror
from pathlib import Path

from scenarios.errors import Problem, ScenarioError
from sim.studies.report import time
from sim.studies.results import Results
from sim.timeline.chrome import replacing, write_chrome_trace
from sim.timeline.picture import draw_modes, draw_program
from sim.timeline.spans import Timeline

STEPS_SHOWN = 3


def check_folder(folder: Path) -> None:
    """Raise ``ScenarioError`` for a place where no folder can be, before anything is computed for it."""
    parts = (folder, *folder.parents)
    if str(folder) in ("", "."):
        raise ScenarioError([Problem("--out", "", "found no name, expected a folder to write three files into")])
    for part in parts:
        if part.exists():
            if not part.is_dir():
                raise ScenarioError([Problem("--out", "", f"{part} is a file, expected a folder")])
            if not os.access(part, os.W_OK):
                raise ScenarioError([Problem("--out", "", f"{part} cannot be written to")])
            return


def write_files(folder: Path, results: Results) -> list[Path]:
    """Write ``summary.json``, ``timeline.json`` and ``timeline.png`` into ``folder``, which is made if needed.

    They take their places once all are complete; a folder made for them goes again when one cannot be written.
    """
    paths = [folder / name for name in ("summary.json", "timeline.json", "timeline.png")]
    if taken := next((path for path in paths if path.is_dir()), None):
        raise IsADirectoryError(EISDIR, strerror(EISDIR), str(taken))
    with _made(folder), ExitStack() as stack:
        summary, trace, picture = [stack.enter_context(replacing(path)) for path in paths]
        summary.write_text(json.dumps(results.as_json(), indent=2) + "\n")
        loaded = results.loaded
        about = {"scenario": loaded.source, "digest": loaded.digest, "profile": loaded.profile.name}
        if results.measured is not None:
            about["measured"] = str(results.measured)
        write_chrome_trace(trace, results.timelines, about)
        _draw(picture, results)
    return paths


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


def _draw(picture: Path, results: Results) -> None:
    loaded = results.loaded
    if loaded.scenario.kind == "program":
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
