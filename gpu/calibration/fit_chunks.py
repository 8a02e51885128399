"""What cached tokens add to a piece of a prompt: its attention to them, and gathering their keys and values."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

from gpu.calibration.fit_kernels import BF16, Row, kind_cost
from gpu.calibration.regression import theil_sen
from scenarios.loader import load_model
from scenarios.units import format_duration
from sim.program.prompts import PER, blocks_of

GATHERS = 2
"""Keys and values."""
Table = dict[str, Any]


def chunk_costs(chunks: Table, multiprocessors: int, graph_gap: float) -> dict[str, Table]:
    """The costs of two kinds: ``kv_read`` gathers from the cache, ``attention_cached`` is what ``PER`` tokens add.

    The latter by size of a head, and by how many blocks of queries a multiprocessor has at once, one or two. More take
    turns: what was measured of them tells how well two describe them, which is the residual.
    """
    about = f"chunks of {chunks['provenance']['gpu']}, {chunks['provenance']['date']}"
    gathers = [_gather(row, graph_gap) for row in chunks["rows"]]
    slopes: dict[tuple[int, int], list[float]] = defaultdict(list)
    for name in dict.fromkeys(row["model"] for row in chunks["rows"]):
        shape = load_model(name)
        rows = [row for row in chunks["rows"] if row["model"] == name]
        for tokens in dict.fromkeys(row["tokens"] for row in rows):
            attention = [(row["start"], row["us"] - row["gathers"]) for row in rows if row["tokens"] == tokens]
            a_wave = -(-blocks_of(shape.heads, tokens) // multiprocessors)
            slopes[shape.head_dim, a_wave].append(PER * theil_sen(attention).slope)
    per = {key: median(found) for key, found in slopes.items() if key[1] <= 2}
    missed = [
        abs(per[dim, 2] / each * (count // 2) - 1)
        for (dim, count), every in slopes.items()
        if count > 2 and count % 2 == 0
        for each in every
    ]
    cached: Table = {
        "floor": "0ns",
        "source": f"{about}: slope over the context, of {PER} cached tokens, by [head_dim] over blocks of queries"
        " that a multiprocessor has at once",
        "table": [{"shape": [dim], "points": _points(per, dim)} for dim in dict.fromkeys(dim for dim, _ in per)],
    }
    if missed:
        cached["residual"] = f"four and more as turns of two: worst {100 * max(missed):.1f}% of {len(missed)}"
    return {
        "kv_read": kind_cost(
            gathers, f"tables by [width] over tokens: {about}: half of both gathers of a piece and its context"
        ),
        "attention_cached": cached,
    }


def _points(per: dict[tuple[int, int], float], dim: int) -> list[list[Any]]:
    return [[blocks, format_duration(round(1000 * per[dim, blocks]))] for blocks in (1, 2) if (dim, blocks) in per]


def _gather(row: Table, graph_gap: float) -> Row:
    """One gather: it reads and writes a row of each token of the piece and before it."""
    width, tokens = load_model(row["model"]).kv_size, row["start"] + row["tokens"]
    return Row((width,), tokens, row["gathers"] / GATHERS - graph_gap, 2 * BF16 * tokens * width)
