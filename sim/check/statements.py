"""Every invariant's name with what it forbids and why: of timelines, programs, relays, periods, servers."""

from __future__ import annotations

from collections.abc import Mapping

from sim.check.periods import PERIODS
from sim.check.programs import PROGRAMS
from sim.check.relays import RELAYS
from sim.check.servers import SERVERS, Statement
from sim.check.timelines import TIMELINES

TIMED = (TIMELINES, PROGRAMS, RELAYS, PERIODS)
"""What is asked of the timeline of a run."""

RUNS: Mapping[str, Statement] = {
    "determinism": Statement(
        "two runs of the same that differ", "what cannot be repeated cannot be debugged, and no two numbers compare"
    ),
    "machines-agree": Statement(
        "a fast machine that differs from the reference by a nanosecond",
        "two implementations that share only their inputs rarely make the same mistake",
    ),
}
"""Of several runs together."""


def statements() -> dict[str, Statement]:
    """All of them, servers first."""
    timed = {name: Statement(one.forbids, one.why) for all_ in TIMED for name, one in all_.items()}
    return {**SERVERS, **timed, **RUNS}
