"""What clients saw: latencies of the requests of an open-loop run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.timeline.spans import Timeline

SATURATED = 0.1  # share of earlier requests without a first token when the last one arrives


@dataclass(frozen=True, slots=True)
class Latency:
    """Times in nanoseconds: ``ttft`` from arrival to the first token, ``tpot`` (last - first) / (tokens - 1).

    ``saturated`` when more than a tenth of the requests still await their first token as another, the last, arrives:
    from then on latencies grow with the length of the run and only the throughput says something.
    """

    ttft_mean: float
    ttft_p50: float
    ttft_p99: float
    tpot_mean: float
    tpot_p99: float
    saturated: bool

    def as_json(self) -> dict[str, Any]:
        """Microseconds, by the names that scripts use."""
        names = ("ttft_mean", "ttft_p50", "ttft_p99", "tpot_mean", "tpot_p99")
        return {f"{name}_us": round(getattr(self, name) / 1000, 3) for name in names} | {"saturated": self.saturated}


def latency(timeline: Timeline) -> Latency:
    """Latencies over all requests that were served to their end."""
    served = timeline.served
    ttft = np.array([s.first - s.arrival for s in served])
    tpot = np.array([(s.last - s.first) / (s.tokens - 1) for s in served if s.tokens > 1] or [0.0])
    last_arrival = max(s.arrival for s in served)
    earlier = [s for s in served if s.arrival < last_arrival]
    num_waiting = sum(s.first > last_arrival for s in earlier)
    return Latency(
        float(ttft.mean()),
        float(np.quantile(ttft, 0.5)),
        float(np.quantile(ttft, 0.99)),
        float(tpot.mean()),
        float(np.quantile(tpot, 0.99)),
        num_waiting > SATURATED * len(earlier),
    )
