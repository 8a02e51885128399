"""From a scenario's workload to requests, their stops and the clients who send them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scenarios.workload import Workload
from sim.serving.request import HASH_TOKENS, Request
from sim.serving.source import ClosedLoop, RequestSource
from sim.studies.arrivals import arrivals
from sim.studies.draws import draws, outputs, prompts
from sim.studies.trace import TracedRequest, arrange, read_trace


def build_source(workload: Workload, *, seed: int = 0, foreseen_stops: bool = False) -> RequestSource:
    """The requests of a workload: a closed batch, clients in a closed loop, an open process, or a trace file.

    Who stops by a token, and where, is drawn for each request by its number. ``foreseen_stops`` tells the scheduler of
    stops as if they were length limits, which prices what not knowing costs. Raises ``ScenarioError`` for a trace file
    that cannot be read.
    """
    rows = _rows(workload, seed)
    chance = draws(seed, "stop").random(len(rows)).tolist()
    position = draws(seed, "position").random(len(rows)).tolist()
    requests, stops = [], {}
    for number, row in enumerate(rows):
        limit = row.tokens if workload.max_tokens is None else min(row.tokens, workload.max_tokens)
        stop = None
        if chance[number] < workload.stop_share:
            if workload.max_tokens is None:
                stop = 1 + int(position[number] * limit)
            elif limit < workload.max_tokens:
                stop, limit = limit, workload.max_tokens
        if stop is not None:
            if foreseen_stops:
                limit = stop
            else:
                stops[number] = stop
        requests.append(Request(number, row.context, limit, row.arrival, computed=workload.closed, hashes=row.hash_ids))
    if workload.clients is not None:
        return ClosedLoop(requests, stops, workload.clients, workload.think)
    return RequestSource(requests, stops)


def _rows(workload: Workload, seed: int) -> list[TracedRequest]:
    """Arrival and tokens of each request."""
    if workload.trace is not None:
        return arrange(read_trace(Path(workload.trace)), workload, seed)
    assert workload.context is not None
    assert workload.output_tokens is not None
    count = workload.batch or workload.requests or 0
    contexts = prompts(workload.context, seed, count)
    tokens = outputs(workload.output_tokens, seed, contexts)
    times = np.zeros(count, dtype=np.int64) if workload.rate is None else arrivals(workload, seed, count)
    columns = (column.tolist() for column in (times, contexts, tokens))
    rows = zip(range(1, count + 1), *columns, _shared(workload, seed, count), strict=True)
    return [TracedRequest(*row) for row in rows]


def _shared(workload: Workload, seed: int, count: int) -> list[tuple[int, ...]]:
    """Hashes of what each prompt begins with: that of its group."""
    shared = workload.shared_prefix
    if shared is None:
        return [()] * count
    whole = shared.tokens // HASH_TOKENS
    groups = draws(seed, "group").integers(shared.groups, size=count).tolist()
    return [tuple(range(group * whole, (group + 1) * whole)) for group in groups]
