"""The chapter's five takeaways: what their claims amount to."""

from __future__ import annotations

from collections.abc import Callable

from sim.studies.chapter import graphs, overhead, overlap
from sim.studies.chapter.claim import Claim, Finding, Verdict
from sim.studies.chapter.lab import Lab

SECTION = "Key takeaways"
BY_NAME = {claim.name: claim for claim in (*overhead.CLAIMS, *graphs.CLAIMS, *overlap.CLAIMS)}


def _amounts_to(*names: str) -> Callable[[Lab], Finding]:
    """All of some claims."""

    def look(lab: Lab) -> Finding:
        found = {name: BY_NAME[name].look(lab) for name in names}
        verdicts = {name: finding.verdict for name, finding in found.items()}
        kinds = set(verdicts.values())
        reservations = [finding.because for finding in found.values() if finding.verdict is not Verdict.HOLDS]
        return Finding(
            predicted="; ".join(f"{name}: {verdict.value}" for name, verdict in verdicts.items()),
            verdict=kinds.pop() if len(kinds) == 1 else Verdict.IN_PART,
            because="; ".join(reservations) or "as each of its claims does",
            numbers={name: list(Verdict).index(verdict) for name, verdict in verdicts.items()},
        )

    return look


def _claim(name: str, says: str, *names: str) -> Claim:
    return Claim(name, SECTION, says, f"overlapsim chapter {' '.join(names)}", _amounts_to(*names), sums_up=names)


CLAIMS = (
    _claim("overhead-is-real", "CPU overhead is real, 20 to 50 % of decode time", "device-waits", "twenty-to-fifty"),
    _claim("graphs-remove-launches", "CUDA graphs eliminate launch overhead", "one-launch", "three-reasons"),
    _claim("overlap-hides-work", "Overlap scheduling hides CPU work", "five-steps", "overlap-hides"),
    _claim("futures-speculate", "FutureMap enables speculation", "five-steps-of-slots", "what-slots-cost"),
    _claim(
        "real-systems-combine", "Real systems combine graphs for decode and overlap for prefill", "combined", "by-phase"
    ),
)
