"""A claim of the chapter, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sim.studies.chapter.lab import DEFAULT, Lab


class Verdict(Enum):
    """What prediction and measurement say of a claim."""

    HOLDS = "holds"
    IN_PART = "in part"
    FAILS = "does not hold"

    @classmethod
    def of(cls, truths: Mapping[str, bool] | list[bool]) -> Verdict:
        """Of several cases: holds for all, for some, or for none."""
        found = list(truths.values()) if isinstance(truths, Mapping) else truths
        return cls.HOLDS if all(found) else cls.IN_PART if any(found) else cls.FAILS


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim's prediction in words and numbers, the measurement beside it ("" where there is none) and the verdict.

    ``numbers`` holds what the words are made of, in the units that their names end with. ``errors`` are how
    far predictions are off, as shares, where the same things were measured. ``shown`` are lines for
    the guide, more than fits a table.
    """

    predicted: str
    verdict: Verdict
    because: str
    measured: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    errors: tuple[float, ...] = ()
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """What the chapter says under one of its headings, a command that shows it, and how it is looked into.

    ``measured`` claims are about runs of the suites; ``sums_up`` names other claims that one amounts to.
    """

    name: str
    section: str
    says: str
    command: str
    look: Callable[[Lab], Finding]
    measured: bool = False
    sums_up: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A claim and its finding on a card, and by their names what was found of it on others that measured it."""

    claim: Claim
    finding: Finding
    elsewhere: Mapping[str, Finding] = field(default_factory=dict)
    profile: str = DEFAULT

    @property
    def command(self) -> str:
        """The claim's command, for this card."""
        simulates = self.claim.command.split()[1] in ("run", "breakdown", "buckets")
        card = f" --set hardware.profile={self.profile}" if simulates and self.profile != DEFAULT else ""
        return self.claim.command + card

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        found = self.finding
        return {
            "name": self.claim.name,
            "section": self.claim.section,
            "claim": self.claim.says,
            "command": self.command,
            "profile": self.profile,
            "predicted": found.predicted,
            "measured": found.measured or None,
            "errors": [round(error, 4) for error in found.errors],
            "verdict": found.verdict.value,
            "because": found.because,
            "numbers": dict(found.numbers),
            "elsewhere": {
                card: {
                    "predicted": one.predicted,
                    "measured": one.measured,
                    "errors": [round(e, 4) for e in one.errors],
                }
                for card, one in self.elsewhere.items()
            },
        }
