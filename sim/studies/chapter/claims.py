"""All claims, in the chapter's order."""

from __future__ import annotations

from sim.studies.chapter import exercises, graphs, overhead, overlap
from sim.studies.chapter.claim import Claim

CLAIMS: tuple[Claim, ...] = (*overhead.CLAIMS, *graphs.CLAIMS, *overlap.CLAIMS, *exercises.CLAIMS)
