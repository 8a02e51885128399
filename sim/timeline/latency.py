"""What clients saw: latencies of the requests of a run, as load generators define them.

Clocks start when a request arrives at the server's source and tick when ``Emit`` hands tokens to the client; there is
no network and no detokenizer. TTFT is from arrival to the first token, TPOT (last - first) / (tokens - 1) of requests
with a second token, ITL every interval between a request's successive tokens, end to end from arrival to the last
token. These are vLLM's ``bench serve`` and SGLang's ``bench_serving``; what NVIDIA's GenAI-Perf calls inter-token
latency is our TPOT. Queue time is from arrival to the end of the schedule that first gave the request its blocks.
Quantiles interpolate linearly, as ``numpy.percentile`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.timeline.spans import Column, Timeline
from sim.timeline.weighted import Weighted

SATURATED = 0.1  # share of earlier requests without a first token when the last one arrives
METRICS = ("ttft", "tpot", "itl", "e2e", "queue")
STATISTICS = ("mean", "p50", "p90", "p99")


@dataclass(frozen=True, eq=False)
class Latencies:
    """Latencies over all requests that were served to their end, in nanoseconds, as columns a request.

    ``itl`` is a distribution of its own: millions of tokens share the intervals between few steps.
    """

    arrival: Column
    scheduled: Column
    first: Column
    last: Column
    tokens: Column
    itl: Weighted

    @classmethod
    def of(cls, *servers: Timeline) -> Latencies:
        """Those of a run, by all servers that took part; raises ``ValueError`` when they served nobody."""
        served = [one for timeline in servers for one in timeline.served]
        if not served:
            raise ValueError("the run served no request to its end")
        names = ("arrival", "scheduled", "first", "last", "tokens")
        columns = {name: np.array([getattr(s, name) for s in served], dtype=np.int64) for name in names}
        return cls(**columns, itl=Weighted.joined(map(_intervals, servers)))

    @cached_property
    def ttft(self) -> Weighted:
        """From arrival to the first token."""
        return Weighted.of(self.first - self.arrival)

    @cached_property
    def tpot(self) -> Weighted:
        """Mean interval between the tokens of a request that has two or more."""
        several = self.tokens > 1
        return Weighted.of((self.last - self.first)[several] / (self.tokens - 1)[several])

    @cached_property
    def e2e(self) -> Weighted:
        """From arrival to the last token."""
        return Weighted.of(self.last - self.arrival)

    @cached_property
    def queue(self) -> Weighted:
        """From arrival until a schedule has taken the request in."""
        return Weighted.of(self.scheduled - self.arrival)

    def statistic(self, metric: str, name: str) -> float | None:
        """One of ``STATISTICS`` of one of ``METRICS``, None where no request has such a latency."""
        found: Weighted = getattr(self, metric)
        if not found.count:
            return None
        return found.mean if name == "mean" else found.quantile(int(name[1:]) / 100)

    @property
    def seconds(self) -> float:
        """From the first arrival to the last token."""
        return int(self.last.max() - self.arrival.min()) / 1e9

    @property
    def saturated(self) -> bool:
        """Whether more than a tenth of the requests still await their first token as another, the last, arrives.

        From then on latencies grow with the length of the run and only the throughput says something.
        """
        last_arrival = self.arrival.max()
        earlier = self.arrival < last_arrival
        num_waiting = int((self.first[earlier] > last_arrival).sum())
        return num_waiting > SATURATED * int(earlier.sum())

    def good(self, limits: Mapping[str, int]) -> npt.NDArray[np.bool_]:
        """Which requests keep all limits, nanoseconds by metric of requests; one of a single token has a TPOT of 0."""
        of_request = {
            "ttft": self.first - self.arrival,
            "tpot": (self.last - self.first) / np.maximum(self.tokens - 1, 1),
            "e2e": self.last - self.arrival,
            "queue": self.scheduled - self.arrival,
        }
        kept = np.ones(len(self.arrival), dtype=np.bool_)
        for name, limit in limits.items():
            kept &= of_request[name] <= limit
        return kept

    def as_json(self, limits: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Microseconds, by the names that scripts use: ``ttft_p99_us`` and so on.

        Where there are ``limits``, goodput counts the requests a second that keep all of them.
        """
        found: dict[str, Any] = {}
        for metric in METRICS:
            for name in STATISTICS:
                value = self.statistic(metric, name)
                found[f"{metric}_{name}_us"] = None if value is None else round(value / 1000, 3)
        seconds = max(self.seconds, 1e-9)
        found["requests_per_s"] = round(len(self.arrival) / seconds, 6)
        if limits:
            kept = int(self.good(limits).sum())
            found |= {"goodput_per_s": round(kept / seconds, 6), "good_share": round(kept / len(self.arrival), 6)}
        return found | {"saturated": self.saturated}


def _intervals(timeline: Timeline) -> Weighted:
    """Intervals between successive tokens of each request.

    A request that decodes gets a token from each delivery of decode rows, so its tokens are a run of deliveries, from
    its first one on; a preempted request has several runs. An interval between deliveries then counts as often as
    requests wait through it.
    """
    times, decodes = timeline.delivered("time"), timeline.delivered("decoded") > 0
    decoding = times[decodes]
    if not len(decoding) or not timeline.served:
        return Weighted.of(np.empty(0))
    starts, places, counts, before = _runs(timeline)
    at = np.cumsum(decodes)[places]
    if (at + counts > len(decoding)).any():
        raise ValueError("a request has more tokens than steps were delivered")
    several = counts > 0
    opened = np.zeros(len(decoding) + 1, dtype=np.int64)
    np.add.at(opened, at[several] + 1, 1)
    np.add.at(opened, (at + counts)[several], -1)
    # the last token of each run, which a request that was preempted waits from for the next
    ends = np.where(several, decoding[(at + counts - 1).clip(0)], starts)
    resumed = np.flatnonzero(before >= 0)
    return Weighted.of(
        np.concatenate(
            [np.diff(decoding), decoding[at[several]] - starts[several], starts[resumed] - ends[before[resumed]]]
        ),
        np.concatenate([np.cumsum(opened)[1:-1], np.ones(several.sum() + len(resumed), dtype=np.int64)]),
    )


def _runs(timeline: Timeline) -> tuple[Column, ...]:
    """Of each run of tokens: when and by which delivery its first came, how many followed, the run before (or -1)."""
    runs = []
    for served in timeline.served:
        number, time, place, previous = 1, served.first, served.delivery, -1
        for resumed, again, where in served.resumed:
            runs.append((time, place, resumed - 1 - number, previous))
            number, time, place, previous = resumed, again, where, len(runs) - 1
        runs.append((time, place, served.tokens - number, previous))
    return tuple(np.array(runs, dtype=np.int64).T)
