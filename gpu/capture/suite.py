"""All cases of the suite, each tried in a process of its own: a capture that fails can leave a context unusable."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from gpu.capture.attempt import attempt
from gpu.capture.case import Case
from gpu.capture.cases import forward, host, streams, training
from gpu.capture.mistakes import MISTAKES, capture_refused, eagerly, eagerly_blocking, replayed, replayed_blocking
from gpu.capture.tables import MARK

Row = dict[str, Any]
CASES: tuple[Case, ...] = (*forward.CASES, *host.CASES, *streams.CASES, *training.CASES)
WAYS = {
    "eager": eagerly,
    "eager, blocking": eagerly_blocking,
    "capture": capture_refused,
    "replay": replayed,
    "replay, blocking": replayed_blocking,
}
"""How a mistake is met."""
PATIENCE = 45
"""Seconds after which a case counts as hung."""


def try_cases(on: str, cases: Iterable[Case] = CASES, jobs: int = 1) -> Iterator[Row]:
    """A row a case: its names, the report, and whether the line that is named is the one that the case has marked.

    The verdict of a process that dies is ``crashed``, of one that does not end ``hung``.
    """
    cases = list(cases)
    for case, row in zip(cases, _each(_tried, [(case.name, on) for case in cases], jobs), strict=True):
        yield {"case": case.name, "row": case.row, "claim": case.claim, "right_line": None, "findings": [], **row}


def see_mistakes(on: str, jobs: int = 1) -> Iterator[Row]:
    """A row a mistake and way of running it: what its user sees."""
    tasks = [(mistake.name, on, how) for mistake in MISTAKES for how in WAYS]
    for (name, _, how), row in zip(tasks, _each(_seen, tasks, jobs), strict=True):
        yield {"mistake": name, "how": how, **row}


def _tried(name: str, on: str) -> Row:
    case = next(case for case in CASES if case.name == name)
    try:
        target = case.target(on)
    except Exception as error:  # noqa: BLE001  what a case needs and this torch has not is its result
        return {"verdict": "raises", "error": f"{type(error).__name__}: {error}"}
    report = attempt(target, on)
    named = [finding.place.text.endswith(MARK) for finding in report.findings if finding.place is not None]
    told = report.as_json()
    for finding in told["findings"]:
        del finding["file"]  # where it lies on this machine
    return told | {"right_line": all(named) if named else None}


def _seen(name: str, on: str, how: str) -> Row:
    mistake = next(mistake for mistake in MISTAKES if mistake.name == name)
    return {"what": mistake.what, **WAYS[how](mistake, on).as_json()}


def _each(work: Callable[..., Row], tasks: Iterable[tuple[str, ...]], jobs: int) -> Iterator[Row]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "gpu.capture.suite"])

    def one(task: tuple[str, ...]) -> Row:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(theirs, work, *task))
        process.start()
        theirs.close()
        try:
            row: Row = mine.recv() if mine.poll(PATIENCE) else {"verdict": "hung"}
        except EOFError:
            row = {"verdict": "crashed"}
        process.join(1)
        if process.is_alive():
            process.kill()
            process.join()
        return {"exit_code": process.exitcode, **row}

    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(one, tasks)


def _send(pipe: Connection, work: Callable[..., Row], *task: str) -> None:
    pipe.send(work(*task))
    pipe.close()
