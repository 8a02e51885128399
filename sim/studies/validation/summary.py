"""What a validation says, computed from its results file alone and ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sim.studies.validation.clients import ClientError, client_errors
from sim.studies.validation.predictors import IN_PROCESS, PREDICTORS, SHIPPED, Predictor, best_known
from sim.studies.validation.results_file import Case, ResultsFile
from sim.studies.validation.scores import Comparison, Score, comparisons, counted_error, error_of, score, worst_cases

WORST = 3


@dataclass(frozen=True, slots=True)
class Summary:
    """Cases in their order, comparisons of modes, and a score for every predictor that predicts anything."""

    title: str
    results: ResultsFile
    comparisons: tuple[Comparison, ...]
    scores: tuple[Score, ...]

    @classmethod
    def of(cls, title: str, results: ResultsFile) -> Summary:
        """Compute everything."""
        scores = [score(results.cases, predictor) for predictor in PREDICTORS]
        return cls(title, results, tuple(comparisons(results.cases)), tuple(s for s in scores if s.plain))

    @property
    def predictor(self) -> Predictor:
        """The one that limits and worst cases are taken from."""
        return best_known(self.results.cases)

    @property
    def worst(self) -> list[Case]:
        """The cases that it misses by most."""
        return worst_cases(self.results.cases, self.predictor, WORST)

    @property
    def clients(self) -> dict[str, list[ClientError]]:
        """What is said of open loops' clients, by predictor."""
        found = {
            p.key: list(client_errors(self.results.cases, in_process=p is IN_PROCESS)) for p in (SHIPPED, IN_PROCESS)
        }
        return {key: errors for key, errors in found.items() if errors}

    def exceeding(self, limit: float) -> list[str]:
        """Sentences about groups whose mean counted error exceeds the limit."""
        return [
            f"{group}: mean error {spread.mean:.1%} exceeds {limit:.1%}"
            for group, spread in score(self.results.cases, self.predictor).counted.items()
            if group != "all" and spread.mean > limit
        ]

    def as_json(self) -> dict[str, Any]:
        """One object with ``provenance``, ``cases``, ``comparisons`` and ``scores``."""
        return {
            "title": self.title,
            "provenance": self.results.provenance,
            "cases": [_case(case) for case in self.results.cases],
            "comparisons": [_comparison(c) for c in self.comparisons],
            "scores": {s.predictor.key: _score(s) for s in self.scores},
            "clients": {key: [_client(e) for e in errors] for key, errors in self.clients.items()},
        }


def _case(case: Case) -> dict[str, Any]:
    errors = {
        p.key: {"error": error_of(case, p), "counted": counted_error(case, p)}
        for p in (SHIPPED, IN_PROCESS)
        if p.ns(case) is not None
    }
    return {**case.model_dump(mode="json"), "errors": errors}


def _comparison(c: Comparison) -> dict[str, Any]:
    predicted = {
        p.key: {"speedup": c.predicted(p), "verdict": c.predicted_verdict(p)}
        for p in PREDICTORS
        if c.predicted(p) is not None
    }
    measured = {"of": c.quantity, "speedup": c.speedup, "noise": c.noise, "verdict": c.verdict}
    return {"case": c.case.name, "base": c.base.mode, "measured": measured, "predicted": predicted}


def _client(e: ClientError) -> dict[str, Any]:
    return {"case": e.case.name, "metric": e.name, "error": e.error, "limit": e.limit, "within": e.within}


def _score(s: Score) -> dict[str, Any]:
    return {
        "plain": {group: asdict(spread) for group, spread in s.plain.items()},
        "counted": {group: asdict(spread) for group, spread in s.counted.items()},
        "speedups": None if s.speedups is None else asdict(s.speedups),
        "verdicts": s.verdicts.as_json(),
    }
