"""How ranks keep each other waiting."""

from __future__ import annotations

import numpy as np

from sim.timeline.spans import Column, Place, Timeline


def collective_wait(timeline: Timeline, window: tuple[int, int], steps: int) -> float:
    """Nanoseconds a step that a rank, in the mean over them, waits in collectives for the last one to arrive.

    The collectives are those that end in the window; 0 where there are none. A rank that arrives early occupies its
    device while it waits, so none of this is idle time.
    """
    starts = _starts(timeline, window)
    if not starts.size:
        return 0.0
    return float((starts.max(axis=0) - starts).mean(axis=0).sum()) / steps


def _starts(timeline: Timeline, window: tuple[int, int]) -> Column:
    """When each rank entered each collective: a row a rank."""
    names = [i for i, name in enumerate(timeline.names) if name.startswith("collective ")]
    rows = timeline.table[np.isin(timeline.column("name"), names)]
    rows = rows[(rows[:, 2] > window[0]) & (rows[:, 2] <= window[1])]
    rank_of = np.array([track.rank if track.place is Place.STREAM else -1 for track in timeline.tracks])
    ranks = rank_of[rows[:, 0]]
    found = [np.sort(rows[ranks == rank, 1]) for rank in np.unique(ranks)]
    return np.array(found, dtype=np.int64)
