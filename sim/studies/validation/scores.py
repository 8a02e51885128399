"""How good predictions are: errors of times and of speedups, and whether a mode helps.

A speedup compares a mode with its base: ``serial-eager``, for ``overlap-graph`` also ``serial-graph``, and ``eager``
for the graphs of a program and of a training step. It is a ratio of times, of an open loop of what its cases say
(``speedup_of``). Modes are measured in turn, so that each repeat has a speedup of its own, in which a host that drifts
under both cancels: their median is the measured speedup, half their range from the 10th to the 90th percentile its
noise. A mode *helps* when its speedup exceeds ``1 + noise``, *hurts* when the inverse does, and otherwise makes *no
difference*. The measured noise decides for measured and predicted speedups alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from sim.studies.noise import noise
from sim.studies.validation.predictors import Predictor
from sim.studies.validation.results_file import Case

Verdict = Literal["helps", "no difference", "hurts"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Group = Literal["graph modes", "eager modes", "programs"]
GROUPS: tuple[Group, ...] = ("graph modes", "eager modes", "programs")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A mode of a configuration beside the mode that it is compared with."""

    base: Case
    case: Case

    @property
    def quantity(self) -> str:
        """What the speedup is one of: a time, or a metric of an open loop's clients."""
        named = [case.speedup_of for case in (self.base, self.case)]
        return "tokens_per_s" if "tokens_per_s" in named else named[0]

    @property
    def speedup(self) -> float:
        """Measured: the median of the repeats' speedups."""
        return float(np.median(self._repeats))

    @property
    def noise(self) -> float:
        """Of the measured speedup, relative: how far the speedups of the repeats scatter."""
        return noise(self._repeats) / self.speedup

    @property
    def verdict(self) -> Verdict:
        """Of the measured speedup."""
        return verdict(self.speedup, self.noise)

    def predicted(self, predictor: Predictor) -> float | None:
        """The predicted speedup; of times where the predictor knows nothing of clients."""
        if self.quantity != "time":
            base, case = (predictor.seen_by_clients(one.clients[self.quantity]) for one in (self.base, self.case))
            if base is not None and case is not None:
                return self._ratio(base, case)
        before, after = predictor.ns(self.base), predictor.ns(self.case)
        return None if before is None or after is None else before / after

    def predicted_verdict(self, predictor: Predictor) -> Verdict | None:
        """By the same threshold as the measured one."""
        if predictor.always_helps:
            return "helps"
        speedup = self.predicted(predictor)
        return None if speedup is None else verdict(speedup, self.noise)

    @property
    def _repeats(self) -> list[float]:
        """The speedup of each repeat, whose runs followed one another."""
        return [self._ratio(*pair) for pair in zip(*map(self._measured, (self.base, self.case)), strict=False)]

    def _measured(self, case: Case) -> Sequence[float]:
        return case.measured_ns if self.quantity == "time" else case.clients[self.quantity].measured

    def _ratio(self, base: float, case: float) -> float:
        return case / base if self.quantity == "tokens_per_s" else base / case


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
    """How often each measured verdict met each predicted one: ``counts[measured][predicted]``, by ``VERDICTS``.

    ``clear`` are the comparisons whose measured effect exceeds its noise, ``no_gain`` those that measure as no
    difference or hurts.
    """

    counts: dict[Verdict, dict[Verdict, int]]

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[Verdict, Verdict]]) -> Verdicts:
        """Count pairs of a measured and a predicted verdict."""
        counts = {measured: dict.fromkeys(VERDICTS, 0) for measured in VERDICTS}
        for measured, predicted in pairs:
            counts[measured][predicted] += 1
        return cls(counts)

    @property
    def right(self) -> int:
        """Predicted as measured."""
        return sum(self.counts[one][one] for one in VERDICTS)

    @property
    def of(self) -> int:
        """All of them."""
        return sum(self.measured(one) for one in VERDICTS)

    @property
    def clear_right(self) -> int:
        """Predicted as measured where the effect exceeds its noise."""
        return self.counts["helps"]["helps"] + self.counts["hurts"]["hurts"]

    @property
    def clear(self) -> int:
        """Whose effect exceeds its noise."""
        return self.measured("helps") + self.measured("hurts")

    @property
    def no_gain(self) -> int:
        """No difference or worse."""
        return self.of - self.measured("helps")

    def measured(self, one: Verdict) -> int:
        """How many measured so."""
        return sum(self.counts[one].values())

    def as_json(self) -> dict[str, Any]:
        """The counts and what is read from them."""
        names = ("right", "of", "clear_right", "clear", "no_gain")
        return {**{name: getattr(self, name) for name in names}, "measured_then_predicted": self.counts}


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
    return Verdicts.of_pairs((c.verdict, said) for c in pairs if (said := c.predicted_verdict(predictor)) is not None)


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
