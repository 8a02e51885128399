"""What products and additions of programs take: tiles, rates, and how far back the cache remembers.

Measured times are microseconds without any gap. With the tiles and with what bounds each row given, times are linear
in the constants: they are found by least squares of the relative error, with what bounds a row by the constants of the
round before, until nothing changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenarios.profile import ProgramKernels
from scenarios.units import format_bandwidth, format_bytes, format_duration, format_flop_rate
from sim.program.cache import BF16, FLOAT32, Cache
from sim.program.products import FIRST, Products, Tile

MIB = 1 << 20
KEPT, LOST = 20 * MIB, 55 * MIB
"""Rows whose operands together are smaller, or larger, are found in the cache whole, or not at all."""
ROUNDS, SHORT = 40, 512
NAMES = ("floor", "per_1000_steps", "flops", "cache", "memory", "miss", "add_floor", "per_1000_first_steps")
NAMED_TILE = re.compile(r"_(\d+)x(\d+)_")
Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A measured product, or an addition where there is no ``k``; all bytes that take turns are its ``footprint``."""

    m: int
    n: int
    k: int
    nbytes: int
    footprint: int
    us: float


def program_kernels(measured: Table, graph_gap: float, multiprocessors: int, single: Table | None = None) -> Table:
    """The table ``programs`` of a profile; ``single`` are kernels back to back with themselves, as ``kernels.json``."""
    rows = [*_rows(measured, graph_gap), *_small(single or {}, graph_gap)]
    tiles = used_tiles(measured["tiles"])
    clear = [row for row in rows if row.footprint <= KEPT or row.footprint >= LOST]
    costs = _costs(clear, tiles, multiprocessors)
    whole, none = _memory_of(rows, costs, multiprocessors)
    costs = costs.model_copy(update={"found_up_to": whole, "lost_from": none})
    products = Products(costs, multiprocessors)
    errors = [abs(_predicted(row, products, products.cache.found(row.footprint)) / row.us - 1) for row in rows]
    return {
        "floor": format_duration(costs.floor),
        "per_1000_first_steps": format_duration(costs.per_1000_first_steps),
        "per_1000_steps": format_duration(costs.per_1000_steps),
        "flops": format_flop_rate(costs.flops),
        "tiles": [list(tile) for tile in tiles],
        "add_floor": format_duration(costs.add_floor),
        "cache": format_bandwidth(costs.cache),
        "memory": format_bandwidth(costs.memory),
        "miss": format_duration(costs.miss),
        "found_up_to": format_bytes(whole),
        "lost_from": format_bytes(none),
        "source": "programs products and adds, kernels squares and adds: least squares of what is found whole or not at"
        " all; tiles by the names of their kernels; how far back is found by what lies in between",
        "residual": f"median {100 * np.median(errors):.1f}%, p90 {100 * np.quantile(errors, 0.9):.1f}%, at most"
        f" {100 * max(errors):.1f}% of {len(errors)} rows",
    }


def used_tiles(kernels: Sequence[Table]) -> list[Tile]:
    """The sizes of tiles in the names of kernels, each once."""
    found = {tuple(map(int, match.groups())) for row in kernels if (match := NAMED_TILE.search(row["name"]))}
    return sorted(found)  # type: ignore[arg-type]


def _rows(measured: Table, graph_gap: float) -> Iterator[Row]:
    for row in measured["products"]:
        m, n, k, sets = (row[name] for name in ("m", "n", "k", "sets"))
        around = BF16 * (m * k + m * n)
        yield Row(m, n, k, around + BF16 * k * n, around + sets * BF16 * k * n, row["us"] - graph_gap)
    for row in measured["adds"]:
        nbytes = 3 * FLOAT32 * row["elements"]
        yield Row(1, row["elements"], 0, nbytes, row["sets"] * nbytes, row["us"] - graph_gap)


def _small(single: Table, graph_gap: float) -> Iterator[Row]:
    """Products and additions that are short, which those were measured longer for."""
    for row in single.get("squares", ()):
        n = row["n"]
        if n <= SHORT:
            yield Row(n, n, n, 3 * BF16 * n * n, 3 * BF16 * n * n, row["us"] - graph_gap)
    for row in single.get("adds", ()):
        nbytes = 3 * FLOAT32 * row["elements"]
        if nbytes <= KEPT:
            yield Row(1, row["elements"], 0, nbytes, nbytes, row["us"] - graph_gap)


def _costs(rows: Sequence[Row], tiles: Sequence[Tile], multiprocessors: int) -> ProgramKernels:
    values = dict(zip(NAMES, (2000.0, 1000.0, 7e12, 6e12, 3e12, 500.0, 900.0, 1000.0), strict=True))
    costs = _made(values, tiles)
    for _ in range(ROUNDS):
        products = Products(costs, multiprocessors)
        matrix = np.array([_terms(row, products) for row in rows]) / np.array([[row.us] for row in rows])
        found, *_ = np.linalg.lstsq(matrix, np.ones(len(rows)), rcond=None)
        us = dict(zip(NAMES, (float(x) for x in found), strict=True))
        fresh = {
            "floor": 1000 * us["floor"],
            "per_1000_steps": 1000 * us["per_1000_steps"],
            "flops": 1e12 / us["flops"],
            "cache": 1e12 / us["cache"],
            "memory": 1e12 / us["memory"],
            "miss": 1000 * us["miss"],
            "add_floor": 1000 * us["add_floor"],
            "per_1000_first_steps": 1000 * us["per_1000_first_steps"],
        }
        before, costs = costs, _made(fresh, tiles)
        if costs == before:
            break
    return costs


def _made(values: dict[str, float], tiles: Sequence[Tile]) -> ProgramKernels:
    def rate(name: str) -> int:
        return int(float(f"{values[name]:.3e}"))

    def duration(name: str) -> int:
        return max(0, round(values[name]))

    return ProgramKernels.model_construct(
        floor=duration("floor"),
        per_1000_steps=duration("per_1000_steps"),
        per_1000_first_steps=duration("per_1000_first_steps"),
        flops=rate("flops"),
        cache=rate("cache"),
        memory=rate("memory"),
        miss=duration("miss"),
        add_floor=duration("add_floor"),
        tiles=tuple(tiles),
        found_up_to=KEPT,
        lost_from=LOST,
        source="",
    )


def _terms(row: Row, products: Products) -> list[float]:
    """A row's time (us) as multiples of the constants, by a thousand steps and a million operations or bytes."""
    kept = row.footprint <= KEPT
    steps, flops = products.work(row.m, row.n, row.k) if row.k else (0, 0)
    moves = not row.k or products.moves(row.m, row.n, row.k, kept=kept)
    return [
        1.0 if row.k else 0.0,
        0.0 if moves else steps / 1000,
        0.0 if moves else flops / 1e6,
        row.nbytes / 1e6 if moves and kept else 0.0,
        row.nbytes / 1e6 if moves and not kept else 0.0,
        0.0 if kept else 1.0,
        0.0 if row.k else 1.0,
        min(row.k, FIRST) / 1000,
    ]


def _predicted(row: Row, products: Products, found: float) -> float:
    ns = products.matmul(row.m, row.n, row.k, found)[0] if row.k else products.add(row.n, found)
    return ns / 1000


def _memory_of(rows: Sequence[Row], costs: ProgramKernels, multiprocessors: int) -> tuple[int, int]:
    """Up to how far back all is found, and from where on nothing: whole MiB with the least squares of relative errors.

    Sums of sizes have two valleys, whose floors differ by less than two calibrations do; squares have one.

    Each product is predicted between what it takes found and lost, as measured, but for weights of which no part is
    ever lost or none ever found whole: an error of the prices is no error of the cache.
    """
    products = Products(costs, multiprocessors)
    ends: dict[tuple[int, int, int], list[float | None]] = {}
    for row in rows:
        pair = ends.setdefault((row.m, row.n, row.k), [None, None])
        if row.footprint <= KEPT:
            pair[0] = row.us
        elif row.footprint >= LOST:
            pair[1] = row.us
    between = []
    for row in rows:
        kept, lost = ends[row.m, row.n, row.k]
        if KEPT < row.footprint < LOST and row.k and lost is not None:
            kept = _predicted(row, products, 1.0) if kept is None else kept
            between.append((row.footprint, row.us, kept, lost))

    def missed(whole: int, none: int) -> float:
        cache = Cache(whole, none)
        times = [(lost + cache.found(footprint) * (kept - lost), us) for footprint, us, kept, lost in between]
        return sum((time / us - 1) ** 2 for time, us in times)

    choices = [(a * MIB, b * MIB) for a in range(16, 64) for b in range(a + 1, 97)]
    return min(choices, key=lambda ends: missed(*ends))
