"""The memory that a model's run takes, reckoned before any of it is taken."""

from __future__ import annotations

from bisect import bisect_left

from gpu.model.meta import PAGE
from scenarios.model import ModelShape
from sim.studies.serving import ServingRun

GRAPH_NODE = 16 * 1024  # bytes that an executable graph holds a node, generously
NODES_A_LAYER = 12


def needs(run: ServingRun, longest: int, pages: int, element: int, *, on_gpu: bool) -> dict[str, int]:
    """Bytes by what they are for; ``element`` bytes a number, ``pages`` of cache, ``longest`` tokens of one request.

    Activations are counted as if each operation of one layer kept its result. Plain torch, which a CPU runs, also
    gathers the keys and values of a whole batch.
    """
    shape, workload, engine = run.model, run.scenario.workload, run.engine
    assert isinstance(shape, ModelShape)
    sampled = max(workload.batch or 0, engine.max_batch)
    rows = most_rows(run, sampled, longest)
    a_row = 4 * shape.hidden + 2 * (shape.q_size + shape.kv_size) + 3 * shape.intermediate
    gathered = (workload.batch or engine.max_batch) * longest * 2 * (shape.kv_size + shape.q_size)
    parts = {
        "weights": shape.num_parameters * element + 4 * longest * shape.head_dim,
        "cache": (pages + 1) * PAGE * shape.kv_bytes_per_token // shape.dtype_bytes * element,
        "activations": (rows * a_row + sampled * shape.vocab + (0 if on_gpu else gathered)) * element,
    }
    if on_gpu and any(mode.endswith("graph") for mode in run.scenario.engine.modes):
        parts["graphs"] = len(reached(run.buckets, sampled)) * NODES_A_LAYER * shape.layers * GRAPH_NODE
    return parts


def most_rows(run: ServingRun, sampled: int, longest: int) -> int:
    """New tokens of the largest step: decode rows, and prompts within the token budget or a single one above it."""
    if run.scenario.workload.batch is not None:
        return sampled
    engine = run.engine
    beside = sampled if engine.batching == "mixed" else 0
    return max(sampled, engine.token_budget, 0 if engine.chunked_prefill else longest + beside)


def reached(buckets: tuple[int, ...], rows: int) -> tuple[int, ...]:
    """The buckets that batches of up to so many rows run in: up to the first that holds all of them."""
    return buckets[: bisect_left(buckets, rows) + 1]
