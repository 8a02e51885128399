"""Where in the user's code something happens."""

from __future__ import annotations

import linecache
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType

import torch

CALLER, SKIPPED, LIBRARY, USER = range(4)
"""Whose a file is: the one that calls the user's function, this package's, torch's or the interpreter's, an installed
library's, or the user's."""

_HERE = Path(__file__).resolve().parent
_CALLER = _HERE / "attempt.py"
_TORCH = Path(torch.__file__).resolve().parent
_SITE = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib"))
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, and what stands in it."""

    file: str
    line: int
    function: str

    @property
    def text(self) -> str:
        """The line without its indentation; empty where the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        path = Path(self.file)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return f"{shown}:{self.line}"


def here() -> Place | None:
    """The user's line that is being executed.

    Gradients are computed in threads of torch's own, whose stacks hold nothing of the user's: there it is the line
    that the main thread waits in.
    """
    found = _innermost(_frames(sys._getframe()))  # noqa: SLF001  the way that the standard library itself takes
    if found is None and threading.current_thread() is not threading.main_thread():
        identity = threading.main_thread().ident
        waiting = sys._current_frames().get(identity) if identity is not None else None  # noqa: SLF001
        found = _innermost(_frames(waiting))
    return found


def of_error(error: BaseException) -> Place | None:
    """The user's line at which an error was raised."""
    rows = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        rows.append((code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return _innermost(reversed(rows))


def _frames(frame: FrameType | None) -> Iterator[tuple[str, int, str]]:
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back


def _innermost(rows: Iterable[tuple[str, int, str]]) -> Place | None:
    """The innermost line of the user's; where there is none, of a library's that is not torch.

    What called this package is nobody's who wrote the function, so the search ends where the function was called.
    """
    fallback: Place | None = None
    for file, line, function in rows:
        owner = _owner(file)
        if owner == CALLER:
            break
        if owner == USER:
            return Place(file, line, function)
        if owner == LIBRARY and fallback is None:
            fallback = Place(file, line, function)
    return fallback


@cache
def _owner(file: str) -> int:
    path = Path(file).resolve()
    if path == _CALLER:
        return CALLER
    if file.startswith("<") or path.is_relative_to(_TORCH) or path.parent == _HERE:
        return SKIPPED
    if any(path.is_relative_to(folder) for folder in _SITE):
        return LIBRARY
    return SKIPPED if path.is_relative_to(_STDLIB) else USER
