"""What a verb is doing, for whoever waits: a line that changes on a terminal, lines now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 15.0
"""Seconds between two lines of a log."""
Say = Callable[[str], None]


@contextmanager
def status(what: str) -> Iterator[Say]:
    """Say what is going on until the block ends; the function that it gives says what comes next.

    Where standard error is no terminal it is a ``log``'s.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(what) as spinner:
            yield spinner.update
    else:
        yield log()


def log() -> Say:
    """What says by lines on standard error where a run has come to, none at first, then one every ``EVERY`` seconds.

    A run that takes minutes is not to be taken for one that hangs.
    """
    began = said = time.monotonic()

    def say(what: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            print(f"{what} ({now - began:.0f} s so far)", file=sys.stderr, flush=True)

    return say
