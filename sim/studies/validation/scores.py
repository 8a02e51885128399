"""How good predictions are: errors of times and of speedups, and whether a mode helps.

A speedup compares a mode with its base: ``serial-eager``, for ``overlap-graph`` also ``serial-graph``, and ``eager``
for the graphs of a program and of a training step. Its noise is that of both times, relative and in quadrature:
``hypot(noise/median of the base, noise/median of the mode)``. A mode *helps* when its speedup exceeds ``1 + noise``,
*hurts* when the inverse does, and otherwise makes *no difference*. The measured noise decides for measured and
predicted speedups alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Literal

import numpy as np

from sim.studies.validation.predictors import Predictor
from sim.studies.validation.results_file import Case

Verdict = Literal["helps", "no difference", "hurts"]
Group = Literal["graph modes", "eager modes", "programs"]
GROUPS: tuple[Group, ...] = ("graph modes", "eager modes", "programs")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A mode of a configuration beside the mode that it is compared with."""

    base: Case
    case: Case

    @property
    def speedup(self) -> float:
        """Measured, between medians."""
        return self.base.measured / self.case.measured

    @property
    def noise(self) -> float:
        """Of the measured speedup, relative."""
        return hypot(*(case.noise_ns / case.measured for case in (self.base, self.case)))

    @property
    def verdict(self) -> Verdict:
        """Of the measured speedup."""
        return verdict(self.speedup, self.noise)

    def predicted(self, predictor: Predictor) -> float | None:
        """The predicted speedup."""
        base, case = predictor.ns(self.base), predictor.ns(self.case)
        return None if base is None or case is None else base / case

    def predicted_verdict(self, predictor: Predictor) -> Verdict | None:
        """By the same threshold as the measured one."""
        if predictor.always_helps:
            return "helps"
        speedup = self.predicted(predictor)
        return None if speedup is None else verdict(speedup, self.noise)


def verdict(speedup: float, noise: float) -> Verdict:
    """What a speedup means where measurements have this relative noise."""
    if speedup > 1 + noise:
        return "helps"
    return "hurts" if 1 / speedup > 1 + noise else "no difference"


def comparisons(cases: Iterable[Case]) -> Iterator[Comparison]:
    """Every mode of a configuration beside each of its bases that was measured."""
    cases = list(cases)
    by_mode = {(case.configuration, case.mode): case for case in cases}
    for case in cases:
        for base in bases_of(case.mode):
            if found := by_mode.get((case.configuration, base)):
                yield Comparison(found, case)


def bases_of(mode: str) -> tuple[str, ...]:
    """The modes that one is compared with."""
    if mode in ("serial-eager", "eager"):
        return ()
    if mode.startswith("graph"):
        return ("eager",)
    return {"overlap-graph": ("serial-eager", "serial-graph")}.get(mode, ("serial-eager",))


def group_of(case: Case) -> Group:
    """Programs, and of serving the modes with and without graphs."""
    if case.quantity == "total":
        return "programs"
    return "graph modes" if case.mode.endswith("graph") else "eager modes"


def error_of(case: Case, predictor: Predictor) -> float | None:
    """Relative error of the predicted time."""
    ns = predictor.ns(case)
    return None if ns is None else ns / case.measured - 1


def counted_error(case: Case, predictor: Predictor) -> float | None:
    """What the error's size exceeds half the case's own noise, relative."""
    error = error_of(case, predictor)
    return None if error is None else max(0.0, abs(error) - case.noise_ns / case.measured / 2)


@dataclass(frozen=True, slots=True)
class Spread:
    """Absolute relative errors of some cases."""

    cases: int
    mean: float
    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, errors: Sequence[float]) -> Spread | None:
        """None of nothing; the 95th percentile is interpolated linearly between cases."""
        if not errors:
            return None
        sizes = np.abs(errors)
        middle, high = np.quantile(sizes, [0.5, 0.95])
        return cls(len(sizes), float(sizes.mean()), float(middle), float(high), float(sizes.max()))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How many predicted verdicts are the measured ones: of all, and of those whose measured effect exceeds its noise.

    ``no_gain`` counts the comparisons that measure as no difference or hurts.
    """

    right: int
    of: int
    clear_right: int
    clear: int
    no_gain: int


@dataclass(frozen=True, slots=True)
class Score:
    """One predictor over all cases; a group without cases of it is left out."""

    predictor: Predictor
    plain: dict[str, Spread]
    counted: dict[str, Spread]
    speedups: Spread | None
    verdicts: Verdicts


def score(cases: Sequence[Case], predictor: Predictor) -> Score:
    """Everything that is said of a predictor."""
    groups: dict[str, list[Case]] = {"all": list(cases)}
    groups |= {group: [case for case in cases if group_of(case) == group] for group in GROUPS}

    def spreads(error: Callable[[Case, Predictor], float | None]) -> dict[str, Spread]:
        found = {
            group: Spread.of([e for case in members if (e := error(case, predictor)) is not None])
            for group, members in groups.items()
        }
        return {group: spread for group, spread in found.items() if spread is not None}

    pairs = [c for c in comparisons(cases) if c.predicted(predictor) is not None]
    speedups = [s / c.speedup - 1 for c in pairs if (s := c.predicted(predictor)) is not None]
    return Score(predictor, spreads(error_of), spreads(counted_error), Spread.of(speedups), _verdicts(pairs, predictor))


def _verdicts(pairs: Sequence[Comparison], predictor: Predictor) -> Verdicts:
    right = [c.predicted_verdict(predictor) == c.verdict for c in pairs]
    clear = [c.verdict != "no difference" for c in pairs]
    return Verdicts(
        right=sum(right),
        of=len(pairs),
        clear_right=sum(r and c for r, c in zip(right, clear, strict=True)),
        clear=sum(clear),
        no_gain=sum(c.verdict != "helps" for c in pairs),
    )


def worst_cases(cases: Sequence[Case], predictor: Predictor, count: int) -> list[Case]:
    """Cases with the largest counted errors, the largest first."""
    return _by_error(cases, predictor)[::-1][:count]


def typical_case(cases: Sequence[Case], predictor: Predictor) -> Case:
    """The case whose counted error is in the middle."""
    ordered = _by_error(cases, predictor)
    return ordered[(len(ordered) - 1) // 2]


def _by_error(cases: Sequence[Case], predictor: Predictor) -> list[Case]:
    known = [(error, case) for case in cases if (error := counted_error(case, predictor)) is not None]
    return [case for _, case in sorted(known, key=lambda pair: pair[0])]
