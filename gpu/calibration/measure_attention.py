"""Attention of decode and of prefill, back to back in a graph. Times are microseconds, kernels plus graph gaps."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from gpu.calibration.clock import BF16, DEV, per_op, rand
from gpu.calibration.measure_kernels import ROTATED
from gpu.kernels.decode_attention import decode_attention, num_splits_for, reference_attention

HEADS = ((32, 8, 128), (32, 8, 64), (14, 2, 64), (16, 8, 128))
"""Query heads, KV heads and head size of the four model shapes."""
BATCHES = (1, 3, 6, 12, 20, 24, 48, 96, 192)
CONTEXTS = (96, 192, 384, 768, 1536, 3072)
PROMPTS = (48, 192, 384, 768, 1536, 3072, 6144)
PAGE = 16
Row = dict[str, Any]


def decode_attentions() -> dict[str, Any]:
    """Our kernel over paged caches, beside the framework's over contiguous ones for some contexts.

    ``relative_errors`` compare our kernel with plain torch in some of the shapes.
    """
    errors: list[float] = []
    shapes = itertools.product(HEADS, BATCHES, CONTEXTS)
    rows = [_decode(*heads, batch, context, errors) for heads, batch, context in shapes]
    return {"rows": rows, "relative_errors": errors}


def prefill_attentions() -> list[Row]:
    """The framework's causal attention over one prompt."""
    rows: list[Row] = []
    for heads, kv_heads, dim in HEADS:
        for tokens in PROMPTS:
            q, k, v = rand(1, heads, tokens, dim), rand(1, kv_heads, tokens, dim), rand(1, kv_heads, tokens, dim)
            us = per_op([partial(scaled_dot_product_attention, q, k, v, is_causal=True, enable_gqa=True)], 4)
            rows.append({"heads": heads, "kv_heads": kv_heads, "dim": dim, "tokens": tokens, "us": us})
    return rows


def _decode(heads: int, kv_heads: int, dim: int, batch: int, context: int, errors: list[float]) -> Row:
    sets = max(1, min(12, int(ROTATED / (batch * context * kv_heads * dim * 4)) + 1))
    pages = (context + PAGE - 1) // PAGE
    q, out = rand(batch, heads, dim), torch.empty(batch, heads, dim, device=DEV, dtype=BF16)
    splits = num_splits_for(batch, kv_heads, dim, torch.cuda.get_device_properties(0).multi_processor_count)
    partials = torch.empty(batch * heads, splits, dim, device=DEV)
    stats = torch.empty(batch * heads, splits, 2, device=DEV)
    lengths = torch.full((batch,), context, device=DEV, dtype=torch.int32)
    table = torch.randperm(batch * pages, device=DEV).to(torch.int32).view(batch, pages)
    slots = batch * pages * PAGE
    caches = [(rand(slots, kv_heads, dim), rand(slots, kv_heads, dim)) for _ in range(sets)]
    calls = [partial(decode_attention, q, k, v, table, lengths, partials, stats, out, PAGE) for k, v in caches]
    calls[0]()
    if batch in (1, 12) and context in (96, 1536):
        want = reference_attention(q, *caches[0], table, lengths, PAGE)
        errors.append(float((out.float() - want).norm() / want.norm()))
    row: Row = {"heads": heads, "kv_heads": kv_heads, "dim": dim, "batch": batch, "context": context, "splits": splits}
    row["us"] = per_op(calls, 2)
    row["sdpa_us"] = None
    if context in (384, 1536):
        view = partial(_contiguous, batch=batch, context=context)
        qs = q.view(batch, heads, 1, dim)
        row["sdpa_us"] = per_op(
            [partial(scaled_dot_product_attention, qs, view(k), view(v), enable_gqa=True) for k, v in caches], 2
        )
    return row


def _contiguous(cache: torch.Tensor, batch: int, context: int) -> torch.Tensor:
    """A cache's first slots as [batch, kv_heads, context, dim]."""
    _, kv_heads, dim = cache.shape
    return cache[: batch * context].view(batch, context, kv_heads, dim).transpose(1, 2)
