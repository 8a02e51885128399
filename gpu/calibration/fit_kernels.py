"""Durations of copies and of kernels by kind, from operations measured back to back in a graph.

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
from gpu.calibration.measurements import Measurements
from gpu.calibration.regression import fit_roofline
from scenarios.units import format_bandwidth, format_bytes, format_duration, format_flop_rate

BF16, INT32 = 2, 4
LARGE_COPY = 1 << 29
"""Bytes of the copy that was measured beside matmuls, and alone."""
Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A measured kernel: its work and its duration in microseconds, without any gap."""

    us: float
    bytes: float
    flops: float = 0.0


def kernel_costs(m: Measurements, graph_gap: float) -> dict[str, Table]:
    """The cost of every kind of kernel; ``graph_gap`` is taken from each measured time."""
    gemm, decode = m.families["gemm"], m.families["attention_decode"]["rows"]
    small, engine = _by_op(m.families["small"], graph_gap), _by_op(m.families["engine"], graph_gap)
    return {
        "gemm": _cost(
            [_gemm_row(g, rows, us - graph_gap) for g in gemm if not g.get("square") for rows, us in g["points"]],
            "tables: families gemm by [n, k], weights rotated beyond the L2, square ones resident in it; roofline on"
            " the rotated ones; sm: grids of 128 of 132 multiprocessors, profiled.json",
            sm=0.97,
            by_shape=curves(((g["n"], g["k"]), rows, us - graph_gap) for g in gemm for rows, us in g["points"]),
        ),
        "attention_decode": _cost(
            [_decode_row(r, graph_gap) for r in decode],
            "tables: families attention_decode, our kernel, by [heads, kv_heads, head_dim, batch] over the context;"
            " splitting the context, combining the parts and the graph gap between the two included",
            by_shape=curves(
                ((r["heads"], r["kv_heads"], r["dim"], r["batch"]), r["context"], r["us"] - graph_gap) for r in decode
            ),
            left_out=left_out_of_grid,
        ),
        "attention_prefill": _cost(
            [_prefill_row(r, graph_gap) for r in m.families["attention_prefill"]],
            "roofline on families attention_prefill, causal: 2 heads dim tokens^2 operations",
        ),
        "norm": _by_width(
            engine["add_norm"],
            "families engine add_norm; 8 bytes an element: the sum and its norm are written",
            4 * BF16,
            shared=BF16,
        ),
        "elementwise": _cost(
            [_add_row(r) for r in small["add"]],
            "roofline on families small: add, 6 bytes an element (4 in the largest, whose operands are one tensor);"
            " tables: families engine silu_mul by [width]",
            sm=0.06,
            by_shape=_width_curves(engine["silu_mul"]),
        ),
        "rope": _by_width(
            engine["rope"],
            "families engine rope, queries and keys; 4 bytes an element, though what counts is the number of heads;"
            f" normalizing both on the way takes {_extra(engine['rope_norm'], engine['rope']):.1f}% more (median)",
            2 * BF16,
        ),
        "kv_write": _by_width(
            engine["write_cache"], "families engine write_cache; 8 bytes an element of the keys", 4 * BF16
        ),
        "embedding": _by_width(engine["embed"], "families engine embed; 4 bytes an element", 2 * BF16),
        "sample": _by_width(small["argmax"], "families small argmax; 2 bytes a logit", BF16),
        "gather": _cost(
            [_row(r, 2 * INT32) for r in engine["resolve"]],
            "roofline on families engine resolve: 8 bytes an element of the step's table",
        ),
        "copy": _cost(
            [_row(r, 2 * BF16) for r in _below_a_gigabyte(small["copy"])],
            "roofline on families small: copy, read and written, below 1GiB",
        ),
    }


def copy_costs(m: Measurements, constants: dict[str, Estimate]) -> dict[str, Table]:
    """Durations of copies by size and direction."""
    ends = constants["timed_event"].value + constants["stream_gap"].value
    waits = sum(constants[name].value for name in ("copy_call", "copy_latency", "wake_spin"))
    rows = m.micro["copies"]
    kept = _below_a_gigabyte(_by_op(m.families["small"], constants["graph_gap"].value)["copy"])
    on_device = [(r["elements"] * BF16, r["us"]) for r in kept]
    on_device.append((LARGE_COPY, m.micro["concurrency"]["copy+mm4096x5"]["a"] - ends))

    def cost(points: list[tuple[int, float]], source: str) -> Table:
        return {"points": [[format_bytes(size), _duration(us)] for size, us in sorted(points)], "source": source}

    pinned = "micro copies, pinned, between two timing events: {} minus timed_event and stream_gap"
    pageable = [(r["bytes"], max(0.0, r["pageable_d2h"]["median_us"] - waits)) for r in rows]
    staged = "micro copies: whole call minus copy_call, copy_latency and wake_spin; includes touching fresh host pages"
    return {
        "h2d": cost([(r["bytes"], r["h2d_us"] - ends) for r in rows], pinned.format("h2d_us")),
        "d2h": cost([(r["bytes"], r["d2h_us"] - ends) for r in rows], pinned.format("d2h_us")),
        "d2d": cost(
            on_device,
            "families small: copy in a graph minus graph_gap; 512MiB: micro concurrency, the copy alone between two"
            " timing events minus timed_event and stream_gap",
        ),
        "pageable_h2d": cost(pageable, f"not measured, the other direction's: {staged}"),
        "pageable_d2h": cost(pageable, staged),
    }


def _by_op(rows: list[Table], graph_gap: float) -> dict[str, list[Table]]:
    """Rows by operation, with their elements and without the gap."""
    by_op: dict[str, list[Table]] = defaultdict(list)
    for r in rows:
        by_op[r["op"]].append(r | {"us": r["us"] - graph_gap, "elements": r["rows"] * r["width"]})
    return by_op


def _below_a_gigabyte(copies: list[Table]) -> list[Table]:
    """All copies but the largest, which takes half as long again as an add that moves as much."""
    return [r for r in copies if r["elements"] * BF16 < 1 << 30]


def _extra(rows: list[Table], than: list[Table]) -> float:
    """By how many percent rows take longer than others of the same width and number, in the median."""
    base = {(r["width"], r["rows"]): r["us"] for r in than}
    return float(np.median([100 * (r["us"] / base[r["width"], r["rows"]] - 1) for r in rows]))


def _row(r: Table, element: int, shared: int = 0) -> Row:
    return Row(r["us"], element * r["elements"] + shared * r["width"])


def _add_row(r: Table) -> Row:
    # the add of 2^29 elements was given one tensor twice: it cannot have read more than that one
    return _row(r, (2 if r["rows"] == 1 and r["width"] == 1 << 29 else 3) * BF16)


def _gemm_row(g: Table, rows: int, us: float) -> Row:
    n, k = g["n"], g["k"]
    return Row(us, BF16 * (n * k + rows * k + rows * n), 2 * rows * n * k)


def _decode_row(r: Table, graph_gap: float) -> Row:
    traffic = 2 * BF16 * r["batch"] * (r["context"] * r["kv_heads"] + r["heads"]) * r["dim"]
    return Row(r["us"] - graph_gap, traffic)


def _prefill_row(r: Table, graph_gap: float) -> Row:
    traffic = 2 * BF16 * r["tokens"] * (r["heads"] + r["kv_heads"]) * r["dim"]
    return Row(r["us"] - graph_gap, traffic, 2 * r["heads"] * r["dim"] * r["tokens"] ** 2)


def _cost(
    rows: list[Row],
    source: str,
    sm: float = 1.0,
    by_shape: Curves | None = None,
    left_out: Callable[[Curves], list[float]] = left_out,
) -> Table:
    """A kind's roofline, what it leaves on the rows that it was fitted to, and its tables with what they miss."""
    flops, traffic, us = (np.array([getattr(r, name) for r in rows], dtype=float) for name in ("flops", "bytes", "us"))
    fitted = fit_roofline(flops, traffic, us)
    residual = f"roofline: {_spread(fitted.errors(flops, traffic, us))} rows"
    if by_shape and (missed := left_out(by_shape)):
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
        "table": tables(by_shape or {}),
    }


def _by_width(rows: list[Table], source: str, element: int, shared: int = 0) -> Table:
    """A kind with tables by width; ``element`` bytes an element and ``shared`` once a column."""
    fitted_to = [_row(r, element, shared) for r in rows]
    return _cost(fitted_to, f"tables by [width], roofline elsewhere: {source}", by_shape=_width_curves(rows))


def _width_curves(rows: list[Table]) -> Curves:
    return curves(((r["width"],), r["rows"], r["us"]) for r in rows)


def _spread(errors: npt.ArrayLike) -> str:
    percent = 100 * np.abs(np.asarray(errors))
    return f"median {np.median(percent):.1f}%, p90 {np.quantile(percent, 0.9):.1f}% of {len(percent)}"


def _duration(us: float) -> str:
    return format_duration(round(1000 * us))


def _rounded(rate: float) -> int:
    """Four significant digits: more are noise and would not print in a readable unit."""
    return int(float(f"{rate:.3e}"))
