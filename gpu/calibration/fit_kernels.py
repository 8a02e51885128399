"""Durations of copies and of kernels by kind, from layers of models as they run and from kernels of programs.

A table holds what was measured, shape by shape; a roofline stands in for shapes that were not. Measured times are
microseconds, work is bytes and floating-point operations; the results are tables as a profile's file spells them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu.calibration.fit_constants import Estimate
from gpu.calibration.fit_tables import Curves, curves, left_out, left_out_of_grid, tables
from gpu.calibration.layer_parts import LayerRow, Part
from gpu.calibration.measurements import Measurements
from gpu.calibration.regression import fit_roofline
from scenarios.loader import load_model
from scenarios.model import ModelShape
from scenarios.units import format_bandwidth, format_bytes, format_duration, format_flop_rate

BF16, INT32 = 2, 4
Table = dict[str, Any]
PRODUCTS = ("qkv", "o", "gate_up", "down", "head")


@dataclass(frozen=True, slots=True)
class Row:
    """A measured kernel: its shape and rows in a table, its work, and its duration in microseconds without any gap."""

    shape: tuple[int, ...]
    rows: int
    us: float
    bytes: float
    flops: float = 0.0


def kernel_costs(m: Measurements, graph_gap: float) -> dict[str, Table]:
    """The cost of every kind of kernel; ``graph_gap`` is taken from each measured time."""
    layers = [LayerRow(row, graph_gap) for row in m.layers["rows"]]
    parts: dict[str, list[Part]] = defaultdict(list)
    for layer in layers:
        for part in layer.parts():
            parts["prefill" if (part.phase, part.name) == ("prefill", "attention") else part.name].append(part)
    tile = m.layers["row_tile"]
    spread = _spread([layer.unexplained for layer in layers])
    where = f"layers: a graph of layers less the same without this kind; kinds add up to a layer but for {spread} rows"
    products = [_product(part, tile) for name in PRODUCTS for part in parts[name]]
    squares = [_square(row, graph_gap) for row in m.kernels["squares"]]
    adds = [Row((), 1, row["us"] - graph_gap, 12 * row["elements"]) for row in m.kernels["adds"]]
    silu = [_by_width(part, _shape(part).intermediate, 3 * BF16) for part in parts["silu"]]
    moved = [Row((), 1, p.us, p.rows * size) for name, size in _moved(m).items() for p in parts[name]]
    copied = [Row((), 1, us, 2 * size) for size, us in _copies(m, "d2d_us", 0.0)]
    return {
        "gemm": _cost(
            products,
            f"tables by [n, k] over tiles of {tile} rows: {where}; square ones: kernels squares, in the L2 while they"
            " fit; sm: grids of 128 of 132 multiprocessors, profiled.json",
            sm=0.97,
            measured=products + squares,
        ),
        "attention_decode": _cost(
            [_decode(part) for part in parts["attention"]],
            f"tables by [heads, kv_heads, head_dim, batch] over the context: {where}",
            left_out=left_out_of_grid,
        ),
        "attention_combine": _cost(
            [_by_width(part, _shape(part).q_size, 2 * BF16) for part in parts["combine"]], f"tables by [width]: {where}"
        ),
        "attention_prefill": _cost(
            [_prefill(part) for part in parts["prefill"]],
            f"tables by [heads, kv_heads, head_dim] over one prompt's length, causal: {where}; torch's flash attention"
            " and the copy of its result",
        ),
        "norm": _cost(
            [_by_width(part, _shape(part).hidden, 4 * BF16, shared=BF16) for part in parts["norm"]],
            f"tables by [width]: {where}; sum and norm are written",
        ),
        "elementwise": _cost(
            adds, f"roofline: kernels adds; tables by [width]: silu_mul of {where}", sm=0.06, measured=silu
        ),
        "rope": _cost(
            [_by_width(part, _shape(part).q_size + _shape(part).kv_size, 2 * BF16) for part in parts["rope"]],
            f"tables by [width]: {where}; with the norms of queries and keys where a model has them",
        ),
        "kv_write": _cost(
            [_by_width(part, _shape(part).kv_size, 4 * BF16) for part in parts["kv_write"]],
            f"tables by [width]: {where}",
        ),
        "embedding": _cost(
            [_by_width(part, _shape(part).hidden, 2 * BF16) for part in parts["embedding"]],
            f"tables by [width]: {where}",
        ),
        "sample": _cost(
            [_by_width(part, _shape(part).vocab, BF16) for part in parts["argmax"]],
            "tables by [width]: layers with an argmax behind them, less without",
        ),
        "gather": _cost(moved, "roofline: layers with a resolve kernel or a store kernel more, less without"),
        "copy": _cost(copied, "roofline: device copies, d2d_us, read and written"),
    }


def copy_costs(m: Measurements, constants: dict[str, Estimate]) -> dict[str, Table]:
    """Durations of copies by size and direction."""
    ends = constants["timed_event"].value + constants["stream_gap"].value
    waits = sum(constants[name].value for name in ("copy_call", "copy_latency", "wake_spin"))

    def cost(column: str, less: float, source: str) -> Table:
        points = [[format_bytes(size), _duration(us)] for size, us in _copies(m, column, less)]
        return {"points": points, "source": f"device copies, {column}: {source}"}

    events = "between two timing events, minus timed_event and stream_gap"
    call = "whole call on pageable memory, minus copy_call, copy_latency and wake_spin"
    return {
        "h2d": cost("h2d_us", ends, events),
        "d2h": cost("d2h_us", ends, events),
        "d2d": cost("d2d_us", ends, events),
        "pageable_h2d": cost("pageable_h2d", waits, call),
        "pageable_d2h": cost("pageable_d2h", waits, call),
    }


def _copies(m: Measurements, column: str, less: float) -> list[tuple[int, float]]:
    return [(row["bytes"], max(0.0, row[column] - less)) for row in m.device["copies"]]


def _shape(part: Part) -> ModelShape:
    return load_model(part.model)


def _product(part: Part, tile: int) -> Row:
    s, rows = _shape(part), -(-part.rows // tile) * tile
    n, k = {
        "qkv": (s.q_size + 2 * s.kv_size, s.hidden),
        "o": (s.hidden, s.q_size),
        "gate_up": (2 * s.intermediate, s.hidden),
        "down": (s.hidden, s.intermediate),
        "head": (s.vocab, s.hidden),
    }[part.name]
    return Row((n, k), rows, part.us, BF16 * (n * k + rows * (n + k)), 2 * rows * n * k)


def _square(row: Table, graph_gap: float) -> Row:
    n = row["n"]
    return Row((n, n), n, row["us"] - graph_gap, 3 * BF16 * n * n, 2 * n**3)


def _decode(part: Part) -> Row:
    s = _shape(part)
    traffic = 2 * BF16 * part.rows * (part.context * s.kv_size + s.q_size)
    heads = s.heads, s.kv_heads, s.head_dim, part.rows
    return Row(heads, part.context, part.us, traffic, 4 * part.rows * part.context * s.q_size)


def _prefill(part: Part) -> Row:
    s, length = _shape(part), part.rows
    traffic = 2 * BF16 * length * (s.q_size + s.kv_size)
    return Row((s.heads, s.kv_heads, s.head_dim), length, part.us, traffic, 2 * s.q_size * length**2)


def _by_width(part: Part, width: int, element: int, shared: int = 0) -> Row:
    """A kernel over rows of a width; ``element`` bytes an element and ``shared`` once a column."""
    return Row((width,), part.rows, part.us, (element * part.rows + shared) * width)


def _moved(m: Measurements) -> dict[str, int]:
    """Bytes a row of the kernels that put inputs into place and keep tokens."""
    return {"resolve": 2 * INT32 * m.layers["input_width"], "store": 2 * 8}


def _cost(
    rows: list[Row],
    source: str,
    sm: float = 1.0,
    measured: list[Row] | None = None,
    left_out: Callable[[Curves], list[float]] = left_out,
) -> Table:
    """A kind's roofline with what it leaves on ``rows``, and tables of ``measured``, else the same ones."""
    flops, traffic, us = (np.array([getattr(r, name) for r in rows], dtype=float) for name in ("flops", "bytes", "us"))
    fitted = fit_roofline(flops, traffic, us)
    residual = f"roofline: {_spread(fitted.errors(flops, traffic, us))} rows"
    by_shape = curves((r.shape, r.rows, r.us) for r in (rows if measured is None else measured) if r.shape)
    if missed := left_out(by_shape):
        residual += f"; tables, each point left out in turn: {_spread(missed)} inner points"
    rates = {}
    if fitted.per_flop:
        rates["flops"] = format_flop_rate(_rounded(1e6 / fitted.per_flop))
    if fitted.per_byte:
        rates["bandwidth"] = format_bandwidth(_rounded(1e6 / fitted.per_byte))
    return {
        "floor": _duration(fitted.floor),
        **rates,
        "sm": sm,
        "source": source,
        "residual": residual,
        "table": tables(by_shape),
    }


def _spread(errors: npt.ArrayLike) -> str:
    percent = 100 * np.abs(np.asarray(errors))
    return f"median {np.median(percent):.1f}%, p90 {np.quantile(percent, 0.9):.1f}% of {len(percent)}"


def _duration(us: float) -> str:
    return format_duration(round(1000 * us))


def _rounded(rate: float) -> int:
    """Four significant digits: more are noise and would not print in a readable unit."""
    return int(float(f"{rate:.3e}"))
