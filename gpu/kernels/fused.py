"""Fused kernels of a decoder layer in Triton, each bound to a stream and its tensors, one launch a call.

``gpu.model.ops`` is the reference of every one.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from gpu.kernels.launch import bind
from gpu.model.meta import POSITION, SLOT, TOKEN
from gpu.model.ops import Call


@triton.jit
def _embed_kernel(meta_ptr, table_ptr, out_ptr, meta_stride, width, TOKEN: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    live = cols < width
    token = tl.load(meta_ptr + row * meta_stride + TOKEN).to(tl.int64)
    tl.store(out_ptr + row * width + cols, tl.load(table_ptr + token * width + cols, mask=live), mask=live)


def embed(stream: int, meta: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> Call:
    """Rows of the table, by the rows' tokens."""
    rows, width = out.shape
    block = triton.next_power_of_2(width)
    return bind(
        _embed_kernel, (rows,), stream, meta, table, out, meta.stride(0), width, TOKEN=TOKEN, BLOCK=block, num_warps=8
    )


@triton.jit
def _norm_kernel(
    x_ptr, residual_ptr, weight_ptr, out_ptr, total_ptr, width, eps, ADD: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    live = cols < width
    x = tl.load(x_ptr + row * width + cols, mask=live, other=0.0).to(tl.float32)
    if ADD:
        x += tl.load(residual_ptr + row * width + cols, mask=live, other=0.0).to(tl.float32)
        x = x.to(total_ptr.dtype.element_ty)  # the sum is kept in the storage type, and so normalized
        tl.store(total_ptr + row * width + cols, x, mask=live)
        x = x.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 0) / width + eps)
    weight = tl.load(weight_ptr + cols, mask=live, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * width + cols, x * scale * weight, mask=live)


def norm(stream: int, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, eps: float) -> Call:
    """Root-mean-square normalization of contiguous rows."""
    return _bound_norm(stream, x, x, weight, out, out, eps, add=False)


def add_norm(
    stream: int, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, eps: float
) -> Call:
    """The normalized sum into ``out``, and the sum in place of ``residual``."""
    return _bound_norm(stream, x, residual, weight, out, residual, eps, add=True)


def _bound_norm(
    stream: int,
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    out: torch.Tensor,
    total: torch.Tensor,
    eps: float,
    *,
    add: bool,
) -> Call:
    rows, width = x.shape
    block = triton.next_power_of_2(width)
    return bind(
        _norm_kernel, (rows,), stream, x, residual, weight, out, total, width, eps, ADD=add, BLOCK=block, num_warps=8
    )


@triton.jit
def _rope_kernel(
    qkv_ptr,
    meta_ptr,
    rotary_ptr,
    q_norm_ptr,
    k_norm_ptr,
    row_size,
    meta_stride,
    eps,
    POSITION: tl.constexpr,
    NORM: tl.constexpr,
    HEADS: tl.constexpr,
    TURNED: tl.constexpr,
    BLOCK: tl.constexpr,
    HALF: tl.constexpr,
):
    row, heads, cols = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)[:, None], tl.arange(0, HALF)[None, :]
    live = heads < TURNED
    at = qkv_ptr + row * row_size + heads * 2 * HALF + cols
    low = tl.load(at, mask=live, other=0.0).to(tl.float32)
    high = tl.load(at + HALF, mask=live, other=0.0).to(tl.float32)
    if NORM:
        scale = 1.0 / tl.sqrt((tl.sum(low * low, 1) + tl.sum(high * high, 1)) / (2 * HALF) + eps)[:, None]
        q_low, q_high = tl.load(q_norm_ptr + cols), tl.load(q_norm_ptr + HALF + cols)
        k_low, k_high = tl.load(k_norm_ptr + cols), tl.load(k_norm_ptr + HALF + cols)
        norm_low = tl.where(heads < HEADS, q_low, k_low).to(tl.float32)
        norm_high = tl.where(heads < HEADS, q_high, k_high).to(tl.float32)
        low = (low * scale * norm_low).to(qkv_ptr.dtype.element_ty).to(tl.float32)
        high = (high * scale * norm_high).to(qkv_ptr.dtype.element_ty).to(tl.float32)
    position = tl.load(meta_ptr + row * meta_stride + POSITION).to(tl.int64)
    cos = tl.load(rotary_ptr + position * 2 * HALF + cols)
    sin = tl.load(rotary_ptr + position * 2 * HALF + HALF + cols)
    tl.store(at, low * cos - high * sin, mask=live)
    tl.store(at + HALF, high * cos + low * sin, mask=live)


def rope(
    stream: int,
    qkv: torch.Tensor,
    meta: torch.Tensor,
    rotary: torch.Tensor,
    heads: int,
    norms: tuple[torch.Tensor, torch.Tensor] | None,
    eps: float,
) -> Call:
    """Rotate queries and keys in place, normalized first if there are norms."""
    rows, size = qkv.shape
    dim = rotary.shape[1]
    turned = heads + (size // dim - heads) // 2
    q_norm, k_norm = norms if norms is not None else (rotary, rotary)
    return bind(
        _rope_kernel, (rows,), stream, qkv, meta, rotary, q_norm, k_norm, size, meta.stride(0), eps,
        POSITION=POSITION, NORM=norms is not None, HEADS=heads, TURNED=turned,
        BLOCK=triton.next_power_of_2(turned), HALF=dim // 2, num_warps=4,
    )  # fmt: skip


@triton.jit
def _write_cache_kernel(
    qkv_ptr, meta_ptr, k_ptr, v_ptr, row_size, meta_stride, q_size, kv_size, SLOT: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    live = cols < kv_size
    slot = tl.load(meta_ptr + row * meta_stride + SLOT).to(tl.int64)
    source = qkv_ptr + row * row_size + q_size + cols
    tl.store(k_ptr + slot * kv_size + cols, tl.load(source, mask=live), mask=live)
    tl.store(v_ptr + slot * kv_size + cols, tl.load(source + kv_size, mask=live), mask=live)


def write_cache(
    stream: int, qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
) -> Call:
    """Put the rows' keys and values into their slots."""
    kv_size = k_cache.shape[1] * k_cache.shape[2]
    block = triton.next_power_of_2(kv_size)
    return bind(
        _write_cache_kernel, (qkv.shape[0],), stream,
        qkv, meta, k_cache, v_cache, qkv.shape[1], meta.stride(0), heads * k_cache.shape[2], kv_size,
        SLOT=SLOT, BLOCK=block, num_warps=4,
    )  # fmt: skip


@triton.jit
def _silu_mul_kernel(x_ptr, out_ptr, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = cols < width
    gate = tl.load(x_ptr + row * 2 * width + cols, mask=live, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + row * 2 * width + width + cols, mask=live, other=0.0)
    active = (gate / (1.0 + tl.exp(-gate))).to(x_ptr.dtype.element_ty)
    tl.store(out_ptr + row * width + cols, active * up, mask=live)


def silu_mul(stream: int, gate_up: torch.Tensor, out: torch.Tensor) -> Call:
    """The gated activation of [rows, 2 * width]."""
    rows, width = out.shape
    grid = rows, triton.cdiv(width, 1024)
    return bind(_silu_mul_kernel, grid, stream, gate_up, out, width, BLOCK=1024, num_warps=4)


@triton.jit
def _resolve_kernel(staged_ptr, future_ptr, placed_ptr, width, TOKEN: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    live = cols < width
    values = tl.load(staged_ptr + row * width + cols, mask=live, other=0)
    symbolic = live & (cols == TOKEN) & (values < 0)
    tokens = tl.load(future_ptr - values.to(tl.int64) - 1, mask=symbolic, other=0)
    tl.store(placed_ptr + row * width + cols, tl.where(symbolic, tokens.to(tl.int32), values), mask=live)


def resolve(stream: int, staged: torch.Tensor, future: torch.Tensor, placed: torch.Tensor) -> Call:
    """Put staged rows into place, symbolic tokens replaced by what their slots hold; both are contiguous."""
    rows, width = staged.shape
    block = triton.next_power_of_2(width)
    return bind(_resolve_kernel, (rows,), stream, staged, future, placed, width, TOKEN=TOKEN, BLOCK=block, num_warps=1)


@triton.jit
def _store_kernel(tokens_ptr, slots_ptr, future_ptr, slots_stride):
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots_ptr + row * slots_stride).to(tl.int64)
    tl.store(future_ptr + slot, tl.load(tokens_ptr + row))


def store(stream: int, tokens: torch.Tensor, slots: torch.Tensor, future: torch.Tensor) -> Call:
    """Keep sampled tokens in the slots that their rows name."""
    return bind(_store_kernel, (len(tokens),), stream, tokens, slots, future, slots.stride(0), num_warps=1)
