"""Why clients of a server see what they see: overlap against serial scheduling, in what a run can tell."""

from __future__ import annotations

from collections.abc import Mapping

from sim.studies.table import time
from sim.timeline.first_tokens import FirstTokens
from sim.timeline.spans import Timeline

PARTS = {
    "queue": "for a schedule",
    "ahead": "behind what was launched before",
    "compute": "in its own step",
    "delivery": "for the host to deliver it, which launches the next step first",
}
"""Where a first token waits, by the parts of ``FirstTokens``."""
SMALL = 0.005  # of the mean TTFT: differences below it are not told


def reasons(timelines: Mapping[str, Timeline], busy: Mapping[str, float | None]) -> list[str]:
    """One sentence for each overlap mode that stands beside its serial one and keeps spans.

    ``busy`` is the share of each mode's time in which the device works.
    """
    found = []
    for mode, timeline in timelines.items():
        base = mode.replace("overlap", "serial")
        if base == mode or base not in timelines:
            continue
        before, after = FirstTokens.of(timelines[base]), FirstTokens.of(timeline)
        if before is None or after is None:
            continue
        sentence = f"{mode} against {base}: {_first(before, after)}; {_steps(timelines[base], timeline)}"
        share = busy.get(base)
        found.append(
            sentence if share is None else f"{sentence}; {1 - share:.1%} of {base}'s time is there to be filled"
        )
    return found


def _first(before: FirstTokens, after: FirstTokens) -> str:
    """Such as ``first tokens come 2.38 ms later: 2.33 ms more behind what was launched before``."""
    changes = {name: getattr(after, name) - getattr(before, name) for name in PARTS}
    told = [
        f"{time(abs(ns) / 1000)} {'more' if ns > 0 else 'less'} {PARTS[name]}"
        for name, ns in sorted(changes.items(), key=lambda item: -abs(item[1]))
        if abs(ns) > SMALL * before.ttft
    ]
    later = after.ttft - before.ttft
    if not told:
        return "first tokens come as soon"
    return f"first tokens come {time(abs(later) / 1000)} {'later' if later > 0 else 'sooner'}: {', '.join(told)}"


def _steps(before: Timeline, after: Timeline) -> str:
    """Such as ``60 steps more for the same tokens, 60 rows of them of requests that had ended``."""
    more = len(after.deliveries) - len(before.deliveries)
    late = sum(d.rows - d.tokens for d in after.deliveries)
    steps = "as many steps" if not more else f"{abs(more):,} steps {'more' if more > 0 else 'less'}"
    of = f", of {len(before.deliveries):,}," if more else ""
    return f"{steps}{of} for the same tokens" + (f", {late:,} rows of requests that had ended" if late else "")
