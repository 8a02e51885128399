"""How full a server was: rows a step, KV blocks, and requests that wait or run, over a run and over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.timeline.spans import Column, Timeline


def load_metrics(*servers: Timeline) -> dict[str, Any]:
    """Means over the steps of a run's servers and extremes of one of them, ready for JSON.

    ``batch`` counts rows; KV blocks are those in use while a step ran. Two kinds of rows are wasted: ``late_rows``,
    whose request had stopped, and ``padding_rows``, which fill a bucket. ``prefix_hits`` is the share of prompt tokens
    that did not have to be computed.
    """

    def column(name: str) -> Column:
        return np.concatenate([server.delivered(name) for server in servers])

    rows, kv = column("rows"), column("kv_blocks")
    prompts = sum(s.context for server in servers for s in server.served)
    return {
        "batch_mean": round(float(rows.mean()), 3),
        "batch_max": int(rows.max()),
        "kv_blocks_mean": round(float(kv.mean()), 3),
        "kv_blocks_max": int(kv.max()),
        "preemptions": int(column("preempted").sum()),
        "prefix_hits": round(int(column("cached").sum()) / prompts, 6) if prompts else 0.0,
        "late_rows": int((rows - column("tokens")).sum()),
        "padding_rows": int(column("padding").sum()),
    }


@dataclass(frozen=True, eq=False, slots=True)
class LoadOverTime:
    """A run in pieces of equal length, which end at ``until`` (ns).

    ``batch`` is the mean over the steps that end in a piece (nan without one), ``kv_blocks`` the most in use in one of
    them; ``waiting`` and ``running`` count requests of all servers at its end: those without blocks yet, and with.
    """

    until: Column
    batch: npt.NDArray[np.float64]
    kv_blocks: npt.NDArray[np.float64]
    waiting: Column
    running: Column

    @classmethod
    def of(cls, *servers: Timeline, pieces: int = 200) -> LoadOverTime:
        """From the first arrival to the last delivery."""
        requests = [one for server in servers for one in server.served]
        served = {name: np.sort([getattr(one, name) for one in requests]) for name in ("arrival", "scheduled", "last")}
        times, rows, blocks = (
            np.concatenate([server.delivered(name) for server in servers]) for name in ("time", "rows", "kv_blocks")
        )
        order = np.argsort(times, kind="stable")
        times, rows, blocks = times[order], rows[order], blocks[order]
        edges = np.linspace(served["arrival"][0], times[-1], pieces + 1)
        first = np.searchsorted(times, edges[:-1], side="right")
        ends = np.append(first[1:], len(times))
        some = ends > first
        batch, kv = np.full(pieces, np.nan), np.full(pieces, np.nan)
        sums = np.append(0, np.cumsum(rows))
        batch[some] = (sums[ends] - sums[first])[some] / (ends - first)[some]
        kv[some] = np.maximum.reduceat(blocks, first[some])
        until = edges[1:].astype(np.int64)
        arrived, scheduled, left = (np.searchsorted(column, until, side="right") for column in served.values())
        return cls(until, batch, kv, arrived - scheduled, scheduled - left)
