"""How full a server was: rows a step, KV blocks, and requests that wait or run, over a run and over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.timeline.spans import Column, Timeline


def load_metrics(timeline: Timeline) -> dict[str, Any]:
    """Means over the steps and extremes of a run, ready for JSON.

    ``batch`` counts rows; KV blocks are those in use while a step ran. Two kinds of rows are wasted: ``late_rows``,
    whose request had stopped, and ``padding_rows``, which fill a bucket. ``prefix_hits`` is the share of prompt tokens
    that did not have to be computed.
    """
    rows, kv = timeline.delivered("rows"), timeline.delivered("kv_blocks")
    prompts = sum(s.context for s in timeline.served)
    return {
        "batch_mean": round(float(rows.mean()), 3),
        "batch_max": int(rows.max()),
        "kv_blocks_mean": round(float(kv.mean()), 3),
        "kv_blocks_max": int(kv.max()),
        "preemptions": int(timeline.delivered("preempted").sum()),
        "prefix_hits": round(int(timeline.delivered("cached").sum()) / prompts, 6) if prompts else 0.0,
        "late_rows": int((rows - timeline.delivered("tokens")).sum()),
        "padding_rows": int(timeline.delivered("padding").sum()),
    }


@dataclass(frozen=True, eq=False, slots=True)
class LoadOverTime:
    """A run in pieces of equal length, which end at ``until`` (ns).

    ``batch`` is the mean over the steps that end in a piece (nan without one), ``kv_blocks`` the most in use in one;
    ``waiting`` and ``running`` count requests at its end: those without their blocks yet, and those with.
    """

    until: Column
    batch: npt.NDArray[np.float64]
    kv_blocks: npt.NDArray[np.float64]
    waiting: Column
    running: Column

    @classmethod
    def of(cls, timeline: Timeline, pieces: int = 200) -> LoadOverTime:
        """From the first arrival to the last delivery."""
        served = {n: np.sort([getattr(s, n) for s in timeline.served]) for n in ("arrival", "scheduled", "last")}
        times = timeline.delivered("time")
        edges = np.linspace(served["arrival"][0], times[-1], pieces + 1)
        first = np.searchsorted(times, edges[:-1], side="right")
        ends = np.append(first[1:], len(times))
        some = ends > first
        batch, kv = np.full(pieces, np.nan), np.full(pieces, np.nan)
        sums = np.append(0, np.cumsum(timeline.delivered("rows")))
        batch[some] = (sums[ends] - sums[first])[some] / (ends - first)[some]
        kv[some] = np.maximum.reduceat(timeline.delivered("kv_blocks"), first[some])
        until = edges[1:].astype(np.int64)
        arrived, scheduled, left = (np.searchsorted(column, until, side="right") for column in served.values())
        return cls(until, batch, kv, arrived - scheduled, scheduled - left)
