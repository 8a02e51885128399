"""What clients of an open loop saw, predicted beside measured: throughput, and latencies of its requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scenarios.loader import LoadedScenario
from scenarios.scenario import Serving
from sim.studies.noise import noise
from sim.studies.validation.results_file import Case, ClientMetric, SpeedupOf
from sim.timeline.latency import Latencies
from sim.timeline.metrics import pace
from sim.timeline.spans import Timeline
from sim.timeline.weighted import Weighted

TAIL_FROM = 2000
"""Requests, or intervals, from which on a 99th percentile is compared: of fewer it is the luck of twenty."""
LIMITS = {"tokens_per_s": 0.05, "tpot_mean_ns": 0.05}
"""What a prediction may be off, relative; percentiles may be off twice the noise of the repeats instead, if larger."""
PERCENTILE_LIMIT = 0.1


def client_metrics(loaded: LoadedScenario, timeline: Timeline) -> dict[str, float]:
    """Throughput, mean TPOT, and percentiles of TTFT, TPOT and ITL of an open loop's run; nothing of other scenarios.

    The 99th percentile, too, of 2,000 requests and more, or of as many intervals. Times are nanoseconds.
    """
    scenario = loaded.scenario
    if not isinstance(scenario, Serving) or scenario.workload.batch is not None:
        return {}
    latencies = Latencies.of(timeline)
    found = {"tokens_per_s": round(pace(timeline, closed=False).tokens_per_s, 3)}
    if latencies.tpot.count:
        found["tpot_mean_ns"] = round(latencies.tpot.mean, 1)
    for name in ("ttft", "tpot", "itl"):
        values: Weighted = getattr(latencies, name)
        tail = values.count >= TAIL_FROM
        for percentile in ((50, 90, 99) if tail else (50, 90)) if values.count else ():
            found[f"{name}_p{percentile}_ns"] = round(values.quantile(percentile / 100), 1)
    return found


def speedup_of(loaded: LoadedScenario, predicted: Timeline) -> SpeedupOf:
    """By what modes are compared: throughput where clients wait for answers or requests pile up, TPOT below that.

    Of a fixed batch and of programs it is the time that their cases hold; so it is below saturation where nothing has a
    TPOT. Whether requests pile up is read from the prediction, since a file of results keeps no measured timeline.
    """
    scenario = loaded.scenario
    if not isinstance(scenario, Serving) or scenario.workload.batch is not None:
        return "time"
    if scenario.workload.clients is not None or Latencies.of(predicted).saturated:
        return "tokens_per_s"
    return "tpot_mean_ns" if any(request.tokens > 1 for request in predicted.served) else "time"


def compared(
    shipped: Mapping[str, float], in_process: Mapping[str, float], measured: Sequence[Mapping[str, float]]
) -> dict[str, ClientMetric]:
    """Both predictions beside every repeat, by metric."""
    return {
        name: ClientMetric(
            predicted=value,
            predicted_in_process=in_process.get(name),
            measured=tuple(repeat[name] for repeat in measured),
        )
        for name, value in shipped.items()
        if all(name in repeat for repeat in measured)
    }


def repeats_of(case: Case) -> list[dict[str, float]]:
    """What clients saw in every repeat of a case."""
    columns = {name: metric.measured for name, metric in case.clients.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@dataclass(frozen=True, slots=True)
class ClientError:
    """One metric of a case: how far a prediction is off, relative, and how far it may be."""

    case: Case
    name: str
    predicted: float
    measured: float
    noise: float
    limit: float

    @property
    def error(self) -> float:
        """Relative to the median repeat."""
        return self.predicted / self.measured - 1

    @property
    def within(self) -> bool:
        """Whether it is no further off than it may be."""
        return abs(self.error) <= self.limit


def client_errors(cases: Iterable[Case], *, in_process: bool) -> Iterator[ClientError]:
    """All metrics of all cases that have any, predicted by the shipped profile or with in-process host costs."""
    for case in cases:
        for name, metric in case.clients.items():
            predicted = metric.predicted_in_process if in_process else metric.predicted
            if predicted is None:
                continue
            median = float(np.median(metric.measured))
            spread = noise(metric.measured)
            limit = LIMITS.get(name) or max(PERCENTILE_LIMIT, 2 * spread / median)
            yield ClientError(case, name, predicted, median, spread, limit)
