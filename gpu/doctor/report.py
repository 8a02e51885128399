"""Lines of a check-up, each with its verdict, and what they say about predictions together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

HOST_LIMIT, DEVICE_LIMIT = 0.25, 0.1
"""Beyond these shares of a time, predictions that rest on it are not to be trusted: a host drifts by more than that
only when something is wrong, and a verdict between two modes needs the device's time to a tenth."""
RULE = (
    "host-bound: how far the median host call is from the profile, plus half the range (p10 to p90) of the same calls"
    " over this run; device-bound: the device's line that is furthest from the profile."
    f" Trusted up to {HOST_LIMIT:.0%} and {DEVICE_LIMIT:.0%}, and only where no line that must hold fails"
)
Part = Literal["host", "device", "spread", "must", "told"]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at. ``ok`` None: nothing to compare with.

    ``limit``: what is expected is the most there may be. ``part``: what the line bears on. A ``host`` or ``device``
    line compares two numbers, and moves the trust in times of that kind; a ``spread`` is a share that adds to the
    host's; what ``must`` hold decides alone; what is ``told`` decides nothing.
    """

    what: str
    found: float | str
    expected: float | str | None
    unit: str
    part: Part
    ok: bool | None
    limit: bool = False

    @property
    def ratio(self) -> float:
        """Found over expected."""
        assert isinstance(self.found, float | int)
        assert isinstance(self.expected, float | int)
        return self.found / self.expected

    @property
    def verdict(self) -> str:
        """Ok, off by how much, or what else is the matter."""
        if self.ok is None:
            return "not compared"
        if self.ok:
            return "ok"
        if isinstance(self.found, str):
            return "differs"
        if self.limit:
            return "too much"
        return f"off by {max(self.ratio, 1 / self.ratio):.2f}x"

    def as_json(self) -> dict[str, Any]:
        """The line and its verdict."""
        names = ("what", "found", "expected", "unit", "part", "ok", "verdict")
        return {name: getattr(self, name) for name in names}


def close(what: str, found: float, expected: float, unit: str, part: Part, within: float) -> Line:
    """A number that is ok up to a factor ``within`` of the expected one, either way."""
    fits = found > 0 and expected > 0 and max(found / expected, expected / found) <= within
    return Line(what, found, expected, unit, part, fits)


def same(what: str, found: str, expected: str, part: Part = "told") -> Line:
    """A name that is ok when it is the profile's."""
    return Line(what, found, expected, "", part, found == expected)


def at_most(what: str, found: float, limit: float, unit: str, part: Part) -> Line:
    """A number that is ok up to a limit."""
    return Line(what, found, limit, unit, part, found <= limit, limit=True)


@dataclass
class Report:
    """All lines of a check-up against a profile."""

    on: str
    profile: str
    lines: list[Line] = field(default_factory=list)

    @property
    def host_bound(self) -> float:
        """By what share predictions of host-bound steps may be off."""
        ratios = [line.ratio for line in self._of("host")]
        shift = abs(median(ratios) - 1) if ratios else 0.0
        return shift + max((float(line.found) for line in self._of("spread")), default=0.0)

    @property
    def device_bound(self) -> float | None:
        """By what share predictions of device-bound steps may be off; None where no device was looked at."""
        ratios = [line.ratio for line in self._of("device")]
        return max(abs(ratio - 1) for ratio in ratios) if ratios else None

    @property
    def trustworthy(self) -> bool:
        """Whether predictions may be trusted here, by the rule."""
        held = all(line.ok for line in self._of("must"))
        return held and self.host_bound <= HOST_LIMIT and (self.device_bound or 0.0) <= DEVICE_LIMIT

    def summary(self) -> str:
        """How far to trust predictions, in one line."""
        if self.device_bound is None:
            holds = "holds" if self.trustworthy else "does not hold"
            return f"the host's pace {holds}: ±{self.host_bound:.0%}; how far it is from the profile, a GPU must tell"
        parts = [f"host-bound predictions: ±{self.host_bound:.0%}", f"device-bound: ±{self.device_bound:.0%}"]
        failed = [line.what for line in self._of("must") if not line.ok]
        told = f" (fails: {', '.join(failed)})" if failed else ""
        return f"{', '.join(parts)}; {'trusted' if self.trustworthy else 'not to be trusted'} here today{told}"

    def as_json(self) -> dict[str, Any]:
        """One object for scripts."""
        return {
            "on": self.on,
            "profile": self.profile,
            "lines": [line.as_json() for line in self.lines],
            "host_bound": round(self.host_bound, 4),
            "device_bound": None if self.device_bound is None else round(self.device_bound, 4),
            "trustworthy": self.trustworthy,
            "rule": RULE,
        }

    def _of(self, part: Part) -> Sequence[Line]:
        return [line for line in self.lines if line.part == part]
