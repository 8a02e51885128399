"""Mistakes that a program tells of when it runs normally, and what is left of that in a replay."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpu.capture.cases import mistaken
from gpu.capture.graphs import CaptureError, CudaGraph, Graph, Recording
from gpu.capture.inputs import StaticInputs
from gpu.capture.place import Place, of_error


@dataclass(frozen=True, slots=True)
class Mistake:
    """A function, inputs that it takes well and inputs that it does not.

    ``unchecked`` is the function without what a capture refuses; it is what gets captured in its place.
    """

    name: str
    what: str
    function: Callable[..., Any]
    good: Callable[[str], tuple[Any, ...]]
    bad: Callable[[str], tuple[Any, ...]]
    unchecked: Callable[..., Any] | None = None


@dataclass
class Seen:
    """What a user sees of three runs, of which the last has the bad inputs.

    ``raised``: the error's type and first line, ``when`` it came, ``place`` the user's line that its traceback shows.
    ``printed`` is what the runs wrote to the terminal, ``at_capture`` what the capture did. ``result`` is a summary of
    the last result.
    """

    raised: str | None = None
    when: str | None = None
    place: Place | None = None
    printed: str = ""
    at_capture: str = ""
    result: str | None = None

    def as_json(self) -> dict[str, Any]:
        """One object for scripts."""
        return {
            "raised": self.raised,
            "when": self.when,
            "line": self.place.text if self.place else None,
            "printed": self.printed,
            "printed_at_capture": self.at_capture,
            "result": self.result,
        }


def eagerly(mistake: Mistake, on: str) -> Seen:
    """Call the function three times."""
    seen = Seen()
    inputs = StaticInputs(mistake.good(on))
    mistake.function(*inputs.arguments)
    _three(mistake, on, inputs, lambda: mistake.function(*inputs.arguments), seen)
    return seen


def eagerly_blocking(mistake: Mistake, on: str) -> Seen:
    """Call the function three times in a process whose every launch waits, as for debugging."""
    os.environ["CUDA_LAUNCH_BLOCKING"] = "1"  # read when the context is made, which comes later
    return eagerly(mistake, on)


def replayed_blocking(mistake: Mistake, on: str) -> Seen:
    """Replay it in such a process."""
    os.environ["CUDA_LAUNCH_BLOCKING"] = "1"
    return replayed(mistake, on)


def capture_refused(mistake: Mistake, on: str) -> Seen:
    """Try to capture the function as it is, and say what refused it."""
    seen = Seen()
    inputs = StaticInputs(mistake.good(on))
    mistake.function(*inputs.arguments)
    with _terminal() as written:
        try:
            _graph(on).capture(lambda: mistake.function(*inputs.arguments))
        except CaptureError as error:
            first = error.first or error.last
            seen.raised, seen.when, seen.place = _first_line(first), "capture", error.place
        seen.printed = written()
    return seen


def replayed(mistake: Mistake, on: str) -> Seen:
    """Capture the function, without what a capture refuses, with the good inputs and replay it three times."""
    seen = Seen()
    inputs = StaticInputs(mistake.good(on))
    function = mistake.unchecked or mistake.function
    function(*inputs.arguments)
    graph = _graph(on)
    with _terminal() as written:
        returned = graph.capture(lambda: function(*inputs.arguments))
        seen.at_capture = written()

    def replay() -> Any:
        graph.launch()
        return returned

    _three(mistake, on, inputs, replay, seen)
    return seen


def _three(mistake: Mistake, on: str, inputs: StaticInputs, run: Callable[[], Any], seen: Seen) -> None:
    with _terminal() as written:
        when = "launch"
        try:
            result = None
            for arguments in (mistake.good(on), mistake.good(on), mistake.bad(on)):
                inputs.load(arguments)
                result = run()
            when = "synchronize"
            if on == "cuda":
                torch.cuda.synchronize()
            when = "result"
            seen.result = _summary(result)
        except Exception as error:  # noqa: BLE001  what is raised is what is asked for
            seen.raised, seen.when, seen.place = _first_line(error), when, of_error(error)
        seen.printed = written()


def _graph(on: str) -> Graph:
    return CudaGraph(torch.cuda.Stream()) if on == "cuda" else Recording()


def _summary(result: Any) -> str:
    if not isinstance(result, torch.Tensor):
        return repr(result)
    bad = int((~result.isfinite()).sum())
    return f"{bad} of {result.numel()} values not finite"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


@contextmanager
def _terminal() -> Iterator[Callable[[], str]]:
    """What the process and its device write to standard output and error, device-side assertions included."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "written"
        with path.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)

        def written() -> str:
            sys.stdout.flush()
            sys.stderr.flush()
            return path.read_text(errors="replace")

        try:
            yield written
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


MISTAKES = (
    Mistake("index", "an index out of range", mistaken.look_up, mistaken.table_and_index, mistaken.table_and_far_index),
    Mistake(
        "nan",
        "a NaN that the host checks for",
        mistaken.checked_log,
        mistaken.positive,
        mistaken.negative,
        mistaken.unchecked_log,
    ),
    Mistake(
        "nan-on-device",
        "a NaN that the device checks for",
        mistaken.device_checked_log,
        mistaken.positive,
        mistaken.negative,
    ),
    Mistake("print", "a print", mistaken.talkative, mistaken.positive, mistaken.positive),
    Mistake("exception", "a Python exception", mistaken.limited, mistaken.short, mistaken.long),
)
"""What is said to be hidden by graphs: "graphs hide errors"."""
