"""Fused kernels of a decoder layer in Triton, one launch each; ``gpu.model.ops`` is the reference of every one."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from gpu.model.meta import POSITION, SLOT, TOKEN


@triton.jit
def _embed_kernel(meta_ptr, table_ptr, out_ptr, meta_stride, width, TOKEN: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    live = cols < width
    token = tl.load(meta_ptr + row * meta_stride + TOKEN).to(tl.int64)
    tl.store(out_ptr + row * width + cols, tl.load(table_ptr + token * width + cols, mask=live), mask=live)


def embed(meta: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Rows of the table, by the rows' tokens."""
    rows, width = meta.shape[0], table.shape[1]
    out = torch.empty(rows, width, device=table.device, dtype=table.dtype)
    block = triton.next_power_of_2(width)
    _embed_kernel[(rows,)](meta, table, out, meta.stride(0), width, TOKEN=TOKEN, BLOCK=block, num_warps=8)
    return out


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


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Root-mean-square normalization of contiguous rows."""
    out, width = torch.empty_like(x), x.shape[-1]
    block = triton.next_power_of_2(width)
    _norm_kernel[(x.shape[0],)](x, x, weight, out, out, width, eps, ADD=False, BLOCK=block, num_warps=8)
    return out


def add_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalized sum, and the sum in place of ``residual``."""
    out, width = torch.empty_like(x), x.shape[-1]
    block = triton.next_power_of_2(width)
    _norm_kernel[(x.shape[0],)](x, residual, weight, out, residual, width, eps, ADD=True, BLOCK=block, num_warps=8)
    return out, residual


@triton.jit
def _rope_kernel(
    qkv_ptr,
    meta_ptr,
    rotary_ptr,
    q_norm_ptr,
    k_norm_ptr,
    row_size,
    meta_stride,
    heads,
    eps,
    POSITION: tl.constexpr,
    NORM: tl.constexpr,
    HALF: tl.constexpr,
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    cols = tl.arange(0, HALF)
    at = qkv_ptr + row * row_size + head * 2 * HALF + cols
    low, high = tl.load(at).to(tl.float32), tl.load(at + HALF).to(tl.float32)
    if NORM:
        scale = 1.0 / tl.sqrt((tl.sum(low * low, 0) + tl.sum(high * high, 0)) / (2 * HALF) + eps)
        norm_ptr = q_norm_ptr if head < heads else k_norm_ptr
        low = (low * scale * tl.load(norm_ptr + cols).to(tl.float32)).to(qkv_ptr.dtype.element_ty).to(tl.float32)
        high = (
            (high * scale * tl.load(norm_ptr + HALF + cols).to(tl.float32)).to(qkv_ptr.dtype.element_ty).to(tl.float32)
        )
    position = tl.load(meta_ptr + row * meta_stride + POSITION).to(tl.int64)
    cos = tl.load(rotary_ptr + position * 2 * HALF + cols)
    sin = tl.load(rotary_ptr + position * 2 * HALF + HALF + cols)
    tl.store(at, low * cos - high * sin)
    tl.store(at + HALF, high * cos + low * sin)


def rope(
    qkv: torch.Tensor,
    meta: torch.Tensor,
    rotary: torch.Tensor,
    heads: int,
    norms: tuple[torch.Tensor, torch.Tensor] | None,
    eps: float,
) -> None:
    """Rotate queries and keys in place, normalized first if there are norms."""
    rows, size = qkv.shape
    dim = rotary.shape[1]
    kv_heads = (size // dim - heads) // 2
    q_norm, k_norm = norms if norms is not None else (rotary, rotary)
    _rope_kernel[(rows, heads + kv_heads)](
        qkv, meta, rotary, q_norm, k_norm, size, meta.stride(0), heads, eps,
        POSITION=POSITION, NORM=norms is not None, HALF=dim // 2, num_warps=1,
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
    qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
) -> None:
    """Put the rows' keys and values into their slots."""
    kv_size = k_cache.shape[1] * k_cache.shape[2]
    block = triton.next_power_of_2(kv_size)
    _write_cache_kernel[(qkv.shape[0],)](
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


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """The gated activation of [rows, 2 * width]."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = torch.empty(rows, width, device=gate_up.device, dtype=gate_up.dtype)
    _silu_mul_kernel[(rows, triton.cdiv(width, 1024))](gate_up, out, width, BLOCK=1024, num_warps=4)
    return out


@triton.jit
def _resolve_kernel(staged_ptr, future_ptr, placed_ptr, width, TOKEN: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    live = cols < width
    values = tl.load(staged_ptr + row * width + cols, mask=live, other=0)
    symbolic = live & (cols == TOKEN) & (values < 0)
    tokens = tl.load(future_ptr - values.to(tl.int64) - 1, mask=symbolic, other=0)
    tl.store(placed_ptr + row * width + cols, tl.where(symbolic, tokens.to(tl.int32), values), mask=live)


def resolve(staged: torch.Tensor, future: torch.Tensor, placed: torch.Tensor) -> None:
    """Put staged rows into place, symbolic tokens replaced by what their slots hold; both are contiguous."""
    rows, width = staged.shape
    block = triton.next_power_of_2(width)
    _resolve_kernel[(rows,)](staged, future, placed, width, TOKEN=TOKEN, BLOCK=block, num_warps=1)
