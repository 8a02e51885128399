"""Decode attention over a paged KV cache, reading only the live context.

One query row a request. The context is cut into ``num_splits`` parts that run as separate programs (a batch of one
would otherwise use as many multiprocessors as it has KV heads), and a second kernel combines the parts. Grouped-query
attention is packed: the queries that share a KV head share its loads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

from gpu.kernels.launch import bind
from gpu.model.ops import Call


def jit(kernel: Callable[..., None]) -> Any:
    """``triton.jit``, for a type checker that cannot see into it."""
    return triton.jit(kernel)


@jit
def split_kernel(
    q_ptr: tl.tensor, k_ptr: tl.tensor, v_ptr: tl.tensor, table_ptr: tl.tensor, lens_ptr: tl.tensor,
    partial_ptr: tl.tensor, stats_ptr: tl.tensor, scale: tl.tensor, q_stride: tl.tensor,
    table_stride: tl.tensor, lens_stride: tl.tensor, num_splits: tl.tensor,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, GROUP_PAD: tl.constexpr, DIM: tl.constexpr,
    BLOCK: tl.constexpr, PAGE: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """One part of one row's context for the queries of one KV head: its maximum, sum and weighted values."""
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lens_ptr + row * lens_stride)
    num_blocks = tl.cdiv(length, BLOCK)
    per_split = tl.cdiv(num_blocks, num_splits)
    first = split * per_split
    last = tl.minimum(first + per_split, num_blocks)
    groups, dims, offs = tl.arange(0, GROUP_PAD), tl.arange(0, DIM), tl.arange(0, BLOCK)
    q_rows = (row * KV_HEADS + head) * GROUP + groups
    q_at = row.to(tl.int64) * q_stride + (head * GROUP + groups[:, None]) * DIM + dims[None, :]
    q = tl.load(q_ptr + q_at, mask=groups[:, None] < GROUP, other=0.0)
    best = tl.full((GROUP_PAD,), float("-inf"), tl.float32)
    total = tl.zeros((GROUP_PAD,), tl.float32)
    acc = tl.zeros((GROUP_PAD, DIM), tl.float32)
    for block in range(first, last):
        pos = block * BLOCK + offs
        live = pos < length
        page = tl.load(table_ptr + row * table_stride + pos // PAGE, mask=live, other=0)
        slot = page.to(tl.int64) * PAGE + pos % PAGE
        at = (slot[:, None] * KV_HEADS + head) * DIM + dims[None, :]
        k = tl.load(k_ptr + at, mask=live[:, None], other=0.0)
        v = tl.load(v_ptr + at, mask=live[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        scores = tl.where(live[None, :], scores, float("-inf"))
        new_best = tl.maximum(best, tl.max(scores, 1))
        weights = tl.exp(scores - new_best[:, None])
        shrink = tl.exp(best - new_best)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        best = new_best
    out = (q_rows * num_splits) + split
    keep = groups < GROUP
    tl.store(stats_ptr + out * 2, best, mask=keep)
    tl.store(stats_ptr + out * 2 + 1, total, mask=keep)
    tl.store(partial_ptr + out[:, None] * DIM + dims[None, :], acc, mask=keep[:, None])


@jit
def combine_kernel(
    partial_ptr: tl.tensor,
    stats_ptr: tl.tensor,
    out_ptr: tl.tensor,
    num_splits: tl.tensor,
    SPLITS_PAD: tl.constexpr,
    DIM: tl.constexpr,
) -> None:
    """One query head of one row from all its parts; an empty part has the maximum -inf and weighs nothing."""
    row = tl.program_id(0)
    splits, dims = tl.arange(0, SPLITS_PAD), tl.arange(0, DIM)
    there = splits < num_splits
    at = row * num_splits + splits
    best = tl.load(stats_ptr + at * 2, mask=there, other=float("-inf"))
    total = tl.load(stats_ptr + at * 2 + 1, mask=there, other=0.0)
    factor = tl.exp(best - tl.max(best, 0))
    acc = tl.load(partial_ptr + at[:, None] * DIM + dims[None, :], mask=there[:, None], other=0.0)
    result = tl.sum(acc * factor[:, None], 0) / tl.sum(total * factor, 0)
    tl.store(out_ptr + row * DIM + dims, result.to(out_ptr.dtype.element_ty))


def bind_decode_attention(
    stream: int,
    q: torch.Tensor,  # [rows, heads, dim], rows at any stride
    k_cache: torch.Tensor,  # [slots, kv_heads, dim]
    v_cache: torch.Tensor,  # [slots, kv_heads, dim]
    block_table: torch.Tensor,  # [rows, pages] int32, rows at any stride
    lengths: torch.Tensor,  # [rows] int32 at any stride, each at least 1
    partial: torch.Tensor,  # [rows * heads, splits, dim] float32, scratch
    stats: torch.Tensor,  # [rows * heads, splits, 2] float32, scratch
    out: torch.Tensor,  # [rows, heads, dim]
    page: int,
) -> tuple[Call, Call]:
    """Softmax(q k^T / sqrt(dim)) v over each row's live context, into ``out``: two kernels, no allocation."""
    rows, heads, dim = q.shape
    kv_heads = k_cache.shape[1]
    group = heads // kv_heads
    num_splits = partial.shape[1]
    split = bind(
        split_kernel, (rows, kv_heads, num_splits), stream,
        q, k_cache, v_cache, block_table, lengths, partial, stats, dim**-0.5,
        q.stride(0), block_table.stride(0), lengths.stride(0), num_splits,
        KV_HEADS=kv_heads, GROUP=group, GROUP_PAD=max(16, triton.next_power_of_2(group)), DIM=dim,
        BLOCK=64, PAGE=page, PRECISION="ieee", num_warps=4, num_stages=3 if q.element_size() == 2 else 1,
    )  # fmt: skip
    combine = bind(
        combine_kernel, (rows * heads,), stream, partial, stats, out, num_splits,
        SPLITS_PAD=max(2, triton.next_power_of_2(num_splits)), DIM=dim, num_warps=4,
    )  # fmt: skip
    return split, combine


def reference_attention(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_table: torch.Tensor,
    lengths: torch.Tensor,
    page: int,
) -> torch.Tensor:
    """The same result in float32 by plain torch, one request at a time."""
    rows, heads, _ = q.shape
    group = heads // k_cache.shape[1]
    out = []
    for row in range(rows):
        length = int(lengths[row])
        pos = torch.arange(length, device=q.device)
        slots = block_table[row, pos // page].long() * page + pos % page
        k = k_cache[slots].float().repeat_interleave(group, 1)
        v = v_cache[slots].float().repeat_interleave(group, 1)
        scores = torch.einsum("hd,lhd->hl", q[row].float(), k) * q.shape[-1] ** -0.5
        out.append(torch.einsum("hl,lhd->hd", scores.softmax(-1), v))
    return torch.stack(out)
