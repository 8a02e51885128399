"""A function tried: watched as it runs, captured, replayed with other inputs, and compared with itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from gpu.capture.explain import explain, first_line
from gpu.capture.freezes import compare
from gpu.capture.graphs import CaptureError, CudaGraph, Graph, Recording
from gpu.capture.inputs import StaticInputs
from gpu.capture.place import of_error
from gpu.capture.report import Report
from gpu.capture.state import Outcome, Snapshot, apart
from gpu.capture.target import Target
from gpu.capture.trace import Trace, Watch, address_of

WARM_UP = 2
"""Calls before anything is watched: libraries and optimizers make what they keep in their first."""


def attempt(target: Target, on: str, seed: int = 0) -> Report:
    """Say whether a graph can hold the function, and whether its replays do what the function does.

    The function runs eagerly several times, always from the same state of all tensors that it finds; what it keeps in
    Python goes on. On ``cuda`` it is then captured and replayed. On ``cpu`` a recording of its operations stands for
    the graph: what would freeze shows in its replays, what CUDA would refuse is told from the operations alone.
    """
    report = Report(target.name, on, tried=on == "cuda")
    session = _Session(target, on, seed)
    try:
        session.warm_up()
        first = session.watched(session.inputs)
        session.keep(first)
        second = session.watched(session.inputs)
        misfit = session.static.misfit(session.others)
        third = None if misfit else session.watched(session.others)
    except Exception as error:  # noqa: BLE001  whatever the user's function raises is the answer
        _raised(report, error)
        return report
    report.operations = len(second.calls)
    if misfit:
        report.add("shape", "frozen", misfit, None)
    if on == "cpu":
        for rule, place, found in second.hazards:
            report.add(rule, "refused", found, place)
    changing = compare(first, second, report, inputs=False)
    if report.verdict == "refused":
        return report
    if third is not None:
        compare(second, third, report, inputs=True, known=frozenset(changing))
    _replayed(session, second, report, misfit=misfit is not None)
    return report


class _Session:
    """The function with its inputs at fixed addresses, on a stream of its own where there are streams."""

    def __init__(self, target: Target, on: str, seed: int) -> None:
        self._target = target
        self._on = on
        self._seed = seed
        self.inputs = target.inputs(seed, on)
        self.others = target.inputs(seed + 1, on)
        self.static = StaticInputs(target.inputs(seed, on))
        self._stream = torch.cuda.Stream() if on == "cuda" else None
        self._snapshot = Snapshot()

    def warm_up(self) -> None:
        """Let the function make what it makes once."""
        for _ in range(WARM_UP):
            self.run(self.inputs)

    def keep(self, trace: Trace) -> None:
        """Take the state that every later run starts from; inputs are loaded anyway."""
        self._snapshot = Snapshot.of(
            trace, [address_of(x) for x in self.static.arguments if isinstance(x, torch.Tensor)]
        )

    def restart(self) -> None:
        """Put state and random numbers back to where every run starts."""
        self._snapshot.restore()
        torch.manual_seed(self._seed)

    def run(self, inputs: Sequence[Any], within: AbstractContextManager[Any] | None = None) -> Any:
        """Call the function with these inputs' values and wait for what it launched."""
        self.static.load(inputs)
        self._synchronize()
        with torch.cuda.stream(self._stream) if self._stream else nullcontext(), within or nullcontext():
            returned = self.call()
        self._synchronize()
        return returned

    def call(self) -> Any:
        """The function on the inputs as they are."""
        return self._target.function(*self.static.arguments)

    def watched(self, inputs: Sequence[Any]) -> Trace:
        """The calls of one run from the kept state."""
        self.restart()
        watch = Watch(self._on)
        self.run(inputs, watch)
        if dynamo := sys.modules.get("torch._dynamo"):
            dynamo.reset()  # what was compiled while a watch looked on is not what runs without one
        return watch.trace

    def several(self, step: Callable[[Sequence[Any]], Any], trace: Trace, *, misfit: bool) -> list[Outcome]:
        """What three steps in a row leave, from the kept state: with inputs, with others, with the first again."""
        self.restart()
        order = (self.inputs, self.inputs if misfit else self.others, self.inputs)
        return [Outcome.of(step(inputs), trace) for inputs in order]

    def graph(self) -> Graph:
        """A graph of the kind that there is here."""
        return CudaGraph(self._stream) if self._on == "cuda" else Recording()

    def _synchronize(self) -> None:
        if self._stream is not None:
            torch.cuda.synchronize()


def _raised(report: Report, error: Exception) -> None:
    report.error = f"{type(error).__name__}: {error}"
    report.findings.clear()
    report.add("raises", "refused", type(error).__name__, of_error(error))


def _replayed(session: _Session, trace: Trace, report: Report, *, misfit: bool) -> None:
    """Capture, replay and compare."""
    try:
        eager = session.several(session.run, trace, misfit=misfit)
    except Exception as error:  # noqa: BLE001  as above: a function can raise at a later call only
        _raised(report, error)
        return
    session.restart()
    session.static.load(session.inputs)
    graph = session.graph()
    try:
        returned = graph.capture(session.call)
    except CaptureError as error:
        explain(error, trace, report)
        return
    for operation, place in graph.outside:
        report.add("uncaptured-stream", "frozen", operation, place)
    for call in trace.calls:
        if call.op == "aten._pin_memory.default":
            report.add("pinned-allocation", "frozen", call.op, call.place)

    def replay(inputs: Sequence[Any]) -> Any:
        session.static.load(inputs)
        graph.replay()
        return returned

    try:
        replayed = session.several(replay, trace, misfit=misfit)
        differences = [_differences(one, other) for one, other in zip(eager, replayed, strict=True)]
    except RuntimeError as error:  # CUDA's errors come late: here at the latest, where values are read
        report.equal = False
        report.error = f"{type(error).__name__}: {error}"
        report.add("replay-raises", "frozen", first_line(str(error)), None)
        return
    report.equal = True
    frozen = any(finding.effect == "frozen" for finding in report.findings)
    for number, found_of_run in enumerate(differences, 1):
        for rule, found, address in found_of_run:
            report.equal = False
            place = trace.written.get(address) if address else None
            host = address != 0 and report.on == "cuda" and trace.outside[address].device.type == "cpu"
            if host or not frozen:
                report.add("host-tensor" if host else rule, "frozen", f"run {number}: {found}", place)


def _differences(one: Outcome, other: Outcome) -> list[tuple[str, str, int]]:
    found = []
    for number, (a, b) in enumerate(zip(one.returned, other.returned, strict=False)):
        if text := apart(a, b):
            rule = "differs" if isinstance(a, torch.Tensor) else "returned-value"
            found.append((rule, f"result {number}: {text}", 0))
    for address, tensor in one.written.items():
        if text := apart(tensor, other.written[address]):
            found.append(("differs", f"a tensor that it writes: {text}", address))
    return found
