"""What changes from one run of a function to the next, and so would be frozen in a replay."""

from __future__ import annotations

from gpu.capture.report import Report
from gpu.capture.trace import Call, Trace


def compare(
    first: Trace, second: Trace, report: Report, *, inputs: bool, known: frozenset[int] = frozenset()
) -> set[int]:
    """Report where two runs' calls differ, and return the positions of calls whose numbers or addresses do.

    ``inputs``: the second run had other inputs, else it was the next call with the same ones. ``known`` are positions
    that differ from call to call anyway. Calls are compared up to the first at which the runs part.
    """
    what = "with other inputs" if inputs else "at the next call"
    different: set[int] = set()
    for number, (before, after) in enumerate(zip(first.calls, second.calls, strict=False)):
        if (before.op, before.place) != (after.op, after.place):
            found = f"{_at(before)}, {what} {_at(after)}"
            report.add("branch" if inputs else "another-call", "frozen", found, after.place)
            return different
        if number not in known and before.numbers != after.numbers:
            different.add(number)
            old, new = _first_difference(before.numbers, after.numbers)
            found = f"{before.op} was given {old}, {what} {new}"
            report.add("number" if inputs else "counter", "frozen", found, after.place)
        elif number not in known and before.outside != after.outside:
            different.add(number)
            report.add("address", "frozen", f"{before.op} works on another tensor {what}", after.place)
        if before.shapes != after.shapes:
            if not different:
                old, new = _first_difference(before.shapes, after.shapes)
                report.add("shape", "frozen", f"{before.op} works on {old}, {what} on {new}", after.place)
            return different
    if len(first.calls) != len(second.calls):
        longer = max(first.calls, second.calls, key=len)
        extra = longer[min(len(first.calls), len(second.calls))]
        seldom = "in one of two calls with the same inputs" if not inputs else "with some inputs"
        report.add("branch" if inputs else "another-call", "frozen", f"{_at(extra)} runs only {seldom}", extra.place)
    return different


def _at(call: Call) -> str:
    return f"{call.op} at line {call.place.line}" if call.place else call.op


def _first_difference(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, str]:
    for before, after in zip(old, new, strict=False):
        if before != after:
            return before, after
    return f"{len(old)} of them", f"{len(new)} of them"
