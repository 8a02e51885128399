"""From a failed capture to the rule that was broken and the user's line that broke it."""

from __future__ import annotations

from gpu.capture.graphs import CaptureError
from gpu.capture.place import Place
from gpu.capture.report import Report
from gpu.capture.rules import MESSAGES, SOURCES
from gpu.capture.trace import Call, Trace

FROM_INPUTS = ("number", "branch", "shape")
"""Rules about what changes with the inputs."""


def explain(error: CaptureError, trace: Trace, report: Report) -> None:
    """Add the finding for a failed capture, and torch's own words.

    What was raised first says where; the operations that the same function dispatched when it ran before say what
    its line does. Ending a capture whose streams are not joined raises without any line: there it is the line of the
    last operation on another stream.
    """
    raised = error.first or error.last
    report.error = f"{type(raised).__name__}: {raised}"
    message = str(raised)
    place = error.place
    rule = next(trace.hazards_at(place), None)
    rule = rule or next((rule for words, rule in MESSAGES if words.lower() in message.lower()), None)
    # What depends on inputs in a function that reads them on the host does so because of that.
    report.findings = [finding for finding in report.findings if finding.rule not in FROM_INPUTS]
    if error.first is None:
        aside = strays(trace)
        if aside is not None:
            report.add(rule or "unjoined", "refused", aside.op, aside.place)
            return
    rule = rule or _copy_at(trace, place) or _by_source(place) or "unknown"
    found = next((call.op for call in trace.calls if call.place == place and call.hazard == rule), None)
    report.add(rule, "refused", found or first_line(message), place)


def strays(trace: Trace) -> Call | None:
    """The last call on another stream than the one that the function was called on."""
    return next((call for call in reversed(trace.calls) if call.stream != trace.stream), None)


def first_line(text: str) -> str:
    """What an error says before it explains."""
    return text.partition("\n")[0]


def _copy_at(trace: Trace, place: Place | None) -> str | None:
    """Whether a line copies between host and device."""
    copies = ("aten._to_copy", "aten.copy_")
    crossing = any(call.place == place and call.op.startswith(copies) and len(call.devices) > 1 for call in trace.calls)
    return "pageable-copy" if crossing else None


def _by_source(place: Place | None) -> str | None:
    text = place.text if place is not None else ""
    return next((rule for words, rule in SOURCES if words in text), None)
