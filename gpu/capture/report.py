"""What was found out about a function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from gpu.capture.place import Place
from gpu.capture.rules import RULES

Effect = Literal["refused", "frozen", "note"]
Verdict = Literal["captured", "frozen", "refused", "raises"]
PLACELESS = {
    "shape": "inputs come from outside of the function",
    "returned-value": "a Python value is made by no operation that torch dispatches",
    "differs": "no call of torch differs",
    "unknown": "torch raised it outside of the function",
    "replay-raises": "a replay runs none of the function's lines",
}
"""Why some findings have no line."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that the function meets: ``found`` says with what, ``place`` in which line, None if none can be named.

    ``refused``: the capture fails, or would. ``frozen``: it passes, and a replay then does what was true once.
    """

    rule: str
    effect: Effect
    found: str
    place: Place | None

    @property
    def where(self) -> str:
        """The user's line, or why there is none to name."""
        return str(self.place) if self.place is not None else f"no line ({PLACELESS.get(self.rule, 'none was seen')})"

    def as_json(self) -> dict[str, Any]:
        """The finding with its explanation."""
        rule = RULES[self.rule]
        return {
            "rule": self.rule,
            "effect": self.effect,
            "found": self.found,
            "file": self.place.file if self.place else None,
            "line": self.place.line if self.place else None,
            "text": self.place.text if self.place else None,
            "where": self.where,
            "why": rule.why,
            "advice": rule.advice,
        }


@dataclass
class Report:
    """A function's verdict. ``tried`` is false where there is no GPU to capture on; ``error`` is torch's own text.

    ``equal``: whether replays gave what the function gives, None where there was no replay to compare.
    """

    target: str
    on: str
    tried: bool
    findings: list[Finding] = field(default_factory=list)
    error: str | None = None
    equal: bool | None = None
    operations: int = 0

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        if any(finding.rule == "raises" for finding in self.findings):
            return "raises"
        effects = {finding.effect for finding in self.findings}
        if "refused" in effects:
            return "refused"
        return "frozen" if "frozen" in effects else "captured"

    def summary(self) -> str:
        """The verdict in one sentence."""
        name = self.target
        ops = f"{self.operations} operation{'s' if self.operations != 1 else ''}"
        if self.verdict == "raises":
            return f"{name} raises an error before any capture"
        if self.tried:
            return {
                "captured": f"{name} can be captured: {ops}, and replays with other inputs gave what it gives",
                "frozen": f"{name} can be captured, but replays are not what it does",
                "refused": f"{name} cannot be captured",
            }[self.verdict]
        return {
            "captured": f"{name} shows nothing against a capture: {ops}, recorded and replayed with other inputs, "
            "gave what it gives; --on cuda tries it",
            "frozen": f"{name} would freeze: its {ops}, replayed, are not what it does",
            "refused": f"{name} would not be captured",
        }[self.verdict]

    def add(self, rule: str, effect: Effect, found: str, place: Place | None) -> None:
        """Keep a finding, the first of its line (without a line, of its rule); what is refused goes before the rest."""
        same = [f for f in self.findings if (f.rule == rule if place is None else f.place == place)]
        if effect == "refused" and all(f.effect != "refused" for f in same):
            refused = [f for f in self.findings if f.effect == "refused"]
            others = [f for f in self.findings if f.effect != "refused" and f not in same]
            self.findings = [*refused, Finding(rule, effect, found, place), *others]
        elif not same:
            self.findings.append(Finding(rule, effect, found, place))

    def as_json(self) -> dict[str, Any]:
        """One object for scripts."""
        return {
            "target": self.target,
            "on": self.on,
            "tried": self.tried,
            "verdict": self.verdict,
            "operations": self.operations,
            "replays_equal": self.equal,
            "error": self.error,
            "findings": [finding.as_json() for finding in self.findings],
        }
