"""Durations of copies and of kernels by kind, from layers of models as they run and from kernels of programs.

A table holds what was measured, shape by shape; a roofline stands in for shapes that were not. Measured times are
microseconds, work is bytes and floating-point operations; the results are tables as a profile's file spells them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu.calibration.fit_constants import Estimate
from gpu.calibration.fit_tables import Curves, curves, left_out, left_out_of_grid, left_out_of_prompts, tables
from gpu.calibration.layer_parts import LayerRow, Part
from gpu.calibration.measurements import Measurements
from gpu.calibration.regression import Floats, fit_roofline
from scenarios.loader import load_model
from scenarios.units import format_bandwidth, format_bytes, format_duration, format_flop_rate

BF16, INT32 = 2, 4
Table = dict[str, Any]
PRODUCTS = ("qkv", "o", "gate_up", "down", "head")
MOVED = ("resolve", "store")


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
    tile = m.layers["row_tile"]
    layers = [LayerRow(row, graph_gap) for row in m.layers["rows"]]
    build = partial(_row, tile=tile, input_width=m.layers["input_width"])
    known = _by_group((part for layer in layers for part in layer.known()), build)
    lines = {group: fit_roofline(*_columns(rows)) for group, rows in known.items()}

    def estimate(part: Part) -> float:
        flops, traffic, _ = _columns([build(part)])
        return float(lines[_group(part)].at(flops, traffic)[0])

    full = _by_group((part for layer in layers for part in layer.parts(estimate)), build)
    spread = _spread([layer.unexplained for layer in layers if layer.prompts == 1])
    where = f"layers: a graph of layers less the same without this kind; kinds add up to a layer but for {spread} rows"
    squares = [_square(row, graph_gap) for row in m.kernels["squares"]]
    adds = [Row((), 1, row["us"] - graph_gap, 12 * row["elements"]) for row in m.kernels["adds"]]
    copied = [Row((), 1, us, 2 * size) for size, us in _copies(m, "d2d_us", 0.0)]

    def cost(group: str, source: str, **more: Any) -> Table:
        return kind_cost(known[group], source, **({"measured": full[group]} | more))

    return {
        "gemm": cost(
            "gemm",
            f"tables by [n, k] over tiles of {tile} rows: {where}; square ones: kernels squares, in the L2 while they"
            " fit; sm: grids of 128 of 132 multiprocessors, profiled.json",
            sm=0.97,
            measured=full["gemm"] + squares,
        ),
        "attention_decode": cost(
            "attention",
            f"tables by [heads, kv_heads, head_dim, batch] over the context: {where}",
            left_out=left_out_of_grid,
        ),
        "attention_combine": cost("combine", f"tables by [width]: {where}"),
        "attention_prefill": cost(
            "prefill",
            f"tables by [heads, kv_heads, head_dim, prompts] over each prompt's length, causal: {where}; of several"
            " prompts not stretched; torch's flash attention and the copy of its result",
            left_out=left_out_of_prompts,
        ),
        "norm": cost("norm", f"tables by [width]: {where}; sum and norm are written"),
        "elementwise": kind_cost(
            adds, f"roofline: kernels adds; tables by [width]: silu_mul of {where}", sm=0.06, measured=full["silu"]
        ),
        "rope": cost("rope", f"tables by [width]: {where}; with norms of queries and keys where a model has them"),
        "kv_write": cost("kv_write", f"tables by [width]: {where}"),
        "embedding": cost("embedding", f"tables by [width]: {where}"),
        "sample": cost("argmax", "tables by [width]: layers with an argmax behind them, less without"),
        "gather": cost("moved", "roofline: layers with a resolve kernel or a store kernel more, less without"),
        "copy": kind_cost(copied, "roofline: device copies, d2d_us, read and written"),
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


def _group(part: Part) -> str:
    """Kernels of one group share a roofline."""
    if part.name in PRODUCTS:
        return "gemm"
    if part.name in MOVED:
        return "moved"
    return "prefill" if (part.phase, part.name) == ("prefill", "attention") else part.name


def _by_group(parts: Iterable[Part], build: Callable[[Part], Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for part in parts:
        groups[_group(part)].append(build(part))
    return groups


def _row(part: Part, *, tile: int, input_width: int) -> Row:
    """A part's shape, rows and work, by what it computes; sizes are those of its model."""
    s, rows = load_model(part.model), part.rows
    heads = s.heads, s.kv_heads, s.head_dim
    match _group(part):
        case "gemm":
            n, k = {
                "qkv": (s.q_size + 2 * s.kv_size, s.hidden),
                "o": (s.hidden, s.q_size),
                "gate_up": (2 * s.intermediate, s.hidden),
                "down": (s.hidden, s.intermediate),
                "head": (s.vocab, s.hidden),
            }[part.name]
            tiled = -(-rows // tile) * tile
            return Row((n, k), tiled, part.us, BF16 * (n * k + tiled * (n + k)), 2 * tiled * n * k)
        case "attention":
            traffic = 2 * BF16 * rows * (part.context * s.kv_size + s.q_size)
            return Row((*heads, rows), part.context, part.us, traffic, 4 * rows * part.context * s.q_size)
        case "prefill":
            traffic, length = 2 * BF16 * rows * (s.q_size + s.kv_size), rows // part.prompts
            return Row((*heads, part.prompts), length, part.us, traffic, 2 * s.q_size * rows * length)
        case "moved":  # rows of the inputs' table, or tokens of 8 bytes
            return Row((), 1, part.us, rows * (2 * INT32 * input_width if part.name == "resolve" else 2 * 8))
    width, element, shared = {
        "combine": (s.q_size, 2, 0),
        "norm": (s.hidden, 4, 1),  # the sum is written, too, and the weights are read once
        "silu": (s.intermediate, 3, 0),
        "rope": (s.q_size + s.kv_size, 2, 0),
        "kv_write": (s.kv_size, 4, 0),
        "embedding": (s.hidden, 2, 0),
        "argmax": (s.vocab, 1, 0),
    }[part.name]
    return Row((width,), rows, part.us, BF16 * (element * rows + shared) * width)


def _square(row: Table, graph_gap: float) -> Row:
    n = row["n"]
    return Row((n, n), n, row["us"] - graph_gap, 3 * BF16 * n * n, 2 * n**3)


def _columns(rows: Sequence[Row]) -> tuple[Floats, Floats, Floats]:
    """Operations, bytes and durations."""
    flops, traffic, us = (np.array([getattr(r, name) for r in rows], dtype=float) for name in ("flops", "bytes", "us"))
    return flops, traffic, us


def kind_cost(
    rows: list[Row],
    source: str,
    sm: float = 1.0,
    measured: list[Row] | None = None,
    left_out: Callable[[Curves], list[float]] = left_out,
) -> Table:
    """A kind's roofline with what it leaves on ``rows``, and tables of ``measured``, else the same ones."""
    flops, traffic, us = _columns(rows)
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
