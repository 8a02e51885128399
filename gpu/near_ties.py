"""Why modes part over a token in bf16: the largest two logits were as good as equal, or something is wrong.

Padding a batch or replaying it in a bucket changes in which order sums are rounded, and with it every logit a little.
That noise is measured where modes still agree: there they have computed the same logits from the same tokens. Where the
two best logits are closer than both can be moved by it, either token is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Pair = tuple[float, float]
Margins = Mapping[int, Sequence[Pair]]
"""By request, the two largest logits of each of its tokens."""


@dataclass(frozen=True, slots=True)
class NearTies:
    """``gaps``: by request that modes part over, the distance of its best two logits there; ``noise`` of a logit."""

    gaps: Mapping[int, float]
    noise: float

    @property
    def others(self) -> list[int]:
        """Requests that part although one token is clearly the better."""
        return [request for request, gap in self.gaps.items() if gap > 2 * self.noise]

    def __str__(self) -> str:
        """What was counted, as a sentence."""
        if not self.gaps:
            return "tokens: all requests agree in all modes"
        said = f"tokens: {len(self.gaps)} requests part between modes"
        noise = f"twice the noise of {self.noise:.3g} that a batch's shape makes in a logit"
        if self.others:
            worst = max(self.gaps, key=lambda request: self.gaps[request])
            return f"{said}, {len(self.others)} of them by more than {noise}: request {worst} by {self.gaps[worst]:.3g}"
        return f"{said}, all at near ties: their best two logits are within {max(self.gaps.values()):.3g}, {noise}"


def near_ties(margins: Mapping[str, Margins], tokens: Mapping[str, Mapping[int, Sequence[int]]]) -> NearTies:
    """Compare every two modes; ``tokens`` are those of the same runs as the margins."""
    gaps: dict[int, float] = {}
    noise = 0.0
    for one, other in combinations(margins, 2):
        for request, mine in margins[one].items():
            theirs = margins[other][request]
            pairs = zip(mine, theirs, tokens[one][request], tokens[other][request], strict=False)
            for here, there, token, its in pairs:
                if token != its:
                    gap = min(here[0] - here[1], there[0] - there[1])
                    gaps[request] = max(gap, gaps.get(request, 0.0))
                    break
                noise = max(noise, abs(here[0] - there[0]), abs(here[1] - there[1]))
    return NearTies(gaps, noise)
