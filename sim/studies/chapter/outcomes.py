"""Claims looked into on one card, and beside it on the others that measured them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from scenarios.errors import Problem, ScenarioError, nearest
from scenarios.loader import list_profiles
from sim.studies.chapter.claim import Claim, Outcome
from sim.studies.chapter.lab import Lab
from sim.studies.validation.shipped import results_path

SUITE = "chapter"
MEASURED_ON = "nvidia-h100"
"""The card that measured the chapter, by its profile: claims are predicted for it unless another is asked for."""


def labs_of(profile: str | None, progress: Callable[[str], None] = lambda _: None) -> list[Lab]:
    """A lab for the card that is asked for, and one for each other card that measured the chapter's suite.

    Raises ``ScenarioError`` for a profile that is not shipped.
    """
    first = profile or MEASURED_ON
    known = list_profiles()
    if first not in known:
        message = f"found {first!r}, expected a shipped profile: {nearest(first, known)}"
        raise ScenarioError([Problem("--profile", "", message)])
    others = [name for name in known if name != first and results_path(name, SUITE) is not None]
    return [Lab(progress, name) for name in (first, *others)]


def outcomes_of(claims: Iterable[Claim], labs: Sequence[Lab]) -> list[Outcome]:
    """Every claim on the first lab's card; of those that the suite measures also what the others' show."""
    first, *others = labs
    outcomes = []
    for claim in claims:
        elsewhere = {lab.card: claim.look(lab) for lab in others} if claim.measured else {}
        outcomes.append(
            Outcome(claim, claim.look(first), {c: f for c, f in elsewhere.items() if f.measured}, first.profile)
        )
    return outcomes
