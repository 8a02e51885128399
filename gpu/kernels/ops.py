"""The operations of a forward pass as fused kernels on a CUDA GPU."""

from __future__ import annotations

import torch

from gpu.kernels import fused
from gpu.kernels.decode_attention import decode_attention, num_splits_for
from gpu.model.meta import LENGTH, PAGE, TABLE
from gpu.model.ops import EPSILON, TorchOps


class TritonOps(TorchOps):
    """One kernel an operation, two for decode attention; what is not here is torch's own kernel."""

    def __init__(self) -> None:
        self._multiprocessors = torch.cuda.get_device_properties(0).multi_processor_count

    def embed(self, meta: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Embeddings of the rows' tokens."""
        return fused.embed(meta, table)

    def norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Root-mean-square normalization over the last dimension."""
        return fused.norm(x, weight, EPSILON)

    def add_norm(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The normalized sum, and the sum."""
        return fused.add_norm(x, residual, weight, EPSILON)

    def rope(
        self,
        qkv: torch.Tensor,
        meta: torch.Tensor,
        rotary: torch.Tensor,
        heads: int,
        norms: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """Rotate queries and keys in place, normalized first if there are ``norms``."""
        fused.rope(qkv, meta, rotary, heads, norms, EPSILON)

    def write_cache(
        self, qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
    ) -> None:
        """Put the rows' keys and values into their slots."""
        fused.write_cache(qkv, meta, k_cache, v_cache, heads)

    def decode_attention(
        self, qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
    ) -> torch.Tensor:
        """Attention of one query a row over its live context; [rows, heads * dim]."""
        rows = qkv.shape[0]
        kv_heads, dim = k_cache.shape[1:]
        splits = num_splits_for(rows, kv_heads, dim, self._multiprocessors)
        partial = torch.empty(rows * heads, splits, dim, device=qkv.device)
        stats = torch.empty(rows * heads, splits, 2, device=qkv.device)
        out = torch.empty(rows, heads * dim, device=qkv.device, dtype=qkv.dtype)
        q = qkv.view(rows, -1, dim)[:, :heads]
        decode_attention(q, k_cache, v_cache, meta[:, TABLE:], meta[:, LENGTH], partial, stats, out.view(q.shape), PAGE)
        return out

    def silu_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        """The gated activation of [rows, 2 * width]."""
        return fused.silu_mul(gate_up)

    def resolve(self, staged: torch.Tensor, future: torch.Tensor, placed: torch.Tensor) -> None:
        """Put staged rows into place, symbolic tokens replaced by what their slots hold."""
        fused.resolve(staged, future, placed)
