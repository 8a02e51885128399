"""Gemms and small kernels, each back to back in a graph. Times are microseconds, kernel plus graph gap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from gpu.calibration.clock import BF16, DEV, per_op, rand

ROWS = (1, 2, 3, 6, 12, 20, 24, 40, 48, 80, 96, 160, 192, 320, 384, 768, 1536, 3072)
GEMMS = (
    (6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (128256, 4096), (14336, 4096), (1024, 4096),
    (3072, 2048), (2048, 2048), (16384, 2048), (2048, 8192), (128256, 2048), (8192, 2048), (512, 2048),
    (1152, 896), (896, 896), (9728, 896), (896, 4864), (151936, 896),
    (4096, 1024), (1024, 2048), (6144, 1024), (1024, 3072), (151936, 1024), (3072, 1024),
)  # fmt: skip
"""Weight shapes (out, in) of the four model shapes: qkv, o, gate+up, down, head; then the unfused projections."""
ROTATED = 240e6
"""Bytes of operands to go round in turn: more than the L2 holds, as in a model whose layers follow each other."""
Row = dict[str, Any]


def gemms() -> list[Row]:
    """Weights times a batch of rows, out of memory; then square products that stay in the L2."""
    rows: list[Row] = []
    for n, k in GEMMS:
        copies = max(2, min(24, int(ROTATED / (n * k * 2)) + 1))
        weights = [rand(n, k) * k**-0.5 for _ in range(copies)]
        points = []
        for m in ROWS:
            x, o = rand(m, k), torch.empty(m, n, device=DEV, dtype=BF16)
            points.append([m, per_op([partial(torch.mm, x, w.t(), out=o) for w in weights])])
        rows.append({"n": n, "k": k, "points": points})
        del weights
    for n in (32, 64, 128, 256, 512, 1024, 2048):
        a, b, c = rand(n, n), rand(n, n), torch.empty(n, n, device=DEV, dtype=BF16)
        us = per_op([partial(torch.mm, a, b, out=c)], 40)
        rows.append({"n": n, "k": n, "square": True, "points": [[n, us]]})
    return rows


def small_kernels() -> list[Row]:
    """What a layer runs between its gemms, sampling, and the loads and stores of tokens."""
    rows = [row for m in ROWS for hidden in (896, 2048, 4096, 14336) for row in _layer_ops(m, hidden)]
    for vocab in (128256, 151936):
        for m in ROWS[:-3]:
            logits = rand(m, vocab)
            rows.append(_row("argmax", m, vocab, partial(torch.argmax, logits, -1), 10))
    for m in ROWS[:-3]:
        tokens, where = torch.zeros(8192, dtype=torch.int64, device=DEV), torch.arange(m, device=DEV)
        picked = torch.empty(m, dtype=torch.int64, device=DEV)
        rows.append(_row("gather_tokens", m, 1, partial(torch.index_select, tokens, 0, where, out=picked), 20))
        rows.append(_row("scatter_tokens", m, 1, partial(tokens.index_copy_, 0, where, picked), 20))
    big, other = torch.empty(1 << 29, dtype=BF16, device=DEV), torch.empty(1 << 29, dtype=BF16, device=DEV)
    rows.append(_row("copy", 1, 1 << 29, partial(other.copy_, big), 1))
    rows.append(_row("add", 1, 1 << 29, partial(torch.add, big, big, out=other), 1))
    return rows


def _layer_ops(m: int, hidden: int) -> list[Row]:
    x, y, o = rand(m, hidden), rand(m, hidden), torch.empty(m, hidden, device=DEV, dtype=BF16)
    w = rand(hidden)
    idx = torch.randperm(4096, device=DEV)[:m]
    pool = rand(4096, hidden)
    case: dict[str, Callable[[], Any]] = {
        "add": partial(torch.add, x, y, out=o),
        "silu": partial(functional.silu, x),
        "rms_norm": partial(functional.rms_norm, x, (hidden,), w),
        "embedding": partial(functional.embedding, idx, pool),
        "index_copy": partial(pool.index_copy_, 0, idx, x),
        "copy": partial(o.copy_, x),
    }
    return [_row(name, m, hidden, fn, 20) for name, fn in case.items() if name in ("add", "rms_norm") or hidden == 4096]


def _row(op: str, rows: int, width: int, fn: Callable[[], Any], repeat: int) -> Row:
    return {"op": op, "rows": rows, "width": width, "us": per_op([fn], repeat)}
