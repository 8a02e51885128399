"""All claims, in the chapter's order."""

from __future__ import annotations

from sim.studies.chapter import constraints, exercises, graphs, limits, overhead, overlap, takeaways
from sim.studies.chapter.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    *overhead.CLAIMS,
    *graphs.CLAIMS,
    *constraints.CONSTRAINTS,
    *overlap.CLAIMS,
    *exercises.CLAIMS[:-1],
    *takeaways.CLAIMS,
    *exercises.CLAIMS[-1:],  # the hierarchy of speeds comes after the takeaways
    *limits.CLAIMS[:-1],
    constraints.DEBUGGING,
    *limits.CLAIMS[-1:],
)
