"""The operations of a forward pass in plain torch: what runs on a CPU, and what the fused kernels are tested against.

Shapes: ``x`` [rows, hidden], ``meta`` [rows, TABLE + pages] int32, caches [slots, kv_heads, head_dim].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from gpu.model.meta import LENGTH, PAGE, POSITION, SLOT, TABLE, TOKEN

EPSILON = 1e-6


class TorchOps:
    """Each operation allocates its result."""

    def embed(self, meta: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Embeddings of the rows' tokens."""
        return F.embedding(meta[:, TOKEN], table)

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """``x`` times the transposed weight."""
        return F.linear(x, weight, bias)

    def norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Root-mean-square normalization over the last dimension."""
        return F.rms_norm(x, (x.shape[-1],), weight, EPSILON)

    def add_norm(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The normalized sum, and the sum."""
        total = x + residual
        return self.norm(total, weight), total

    def rope(
        self,
        qkv: torch.Tensor,
        meta: torch.Tensor,
        rotary: torch.Tensor,
        heads: int,
        norms: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """Rotate queries and keys in place, normalized first if there are ``norms``; ``qkv`` [rows, all heads * dim].

        A row holds ``heads`` queries, then as many keys as values.
        """
        dim = rotary.shape[1]
        split = qkv.view(qkv.shape[0], -1, dim)
        kv_heads = (split.shape[1] - heads) // 2
        turned = split[:, : heads + kv_heads]
        if norms is not None:
            turned[:, :heads] = self.norm(turned[:, :heads], norms[0])
            turned[:, heads:] = self.norm(turned[:, heads:], norms[1])
        cos, sin = rotary[meta[:, POSITION].long()][:, None].chunk(2, -1)
        low, high = turned.float().chunk(2, -1)
        turned.copy_(torch.cat([low * cos - high * sin, high * cos + low * sin], -1))

    def write_cache(
        self, qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
    ) -> None:
        """Put the rows' keys and values into their slots."""
        kv_heads, dim = k_cache.shape[1:]
        split = qkv.view(qkv.shape[0], -1, dim)
        slots = meta[:, SLOT].long()
        k_cache.index_copy_(0, slots, split[:, heads : heads + kv_heads])
        v_cache.index_copy_(0, slots, split[:, heads + kv_heads :])

    def decode_attention(
        self, qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
    ) -> torch.Tensor:
        """Attention of one query a row over its live context; [rows, heads * dim]."""
        rows = qkv.shape[0]
        kv_heads, dim = k_cache.shape[1:]
        q = qkv.view(rows, -1, dim)[:, :heads]
        longest = int(meta[:, LENGTH].max())
        position = torch.arange(longest, device=qkv.device)
        slots = meta[:, TABLE + position // PAGE].long() * PAGE + position % PAGE
        live = position[None] < meta[:, LENGTH, None]
        k = k_cache[slots].repeat_interleave(heads // kv_heads, 2).transpose(1, 2)
        v = v_cache[slots].repeat_interleave(heads // kv_heads, 2).transpose(1, 2)
        out = F.scaled_dot_product_attention(q[:, :, None], k, v, attn_mask=live[:, None, None])
        return out.reshape(rows, heads * dim)

    def prefill_attention(self, qkv: torch.Tensor, lengths: tuple[int, ...], heads: int, kv_heads: int) -> torch.Tensor:
        """Causal attention of each prompt to itself; prompts lie one after the other in the rows."""
        dim = qkv.shape[1] // (heads + 2 * kv_heads)
        out = torch.empty(qkv.shape[0], heads * dim, device=qkv.device, dtype=qkv.dtype)
        start = 0
        for length in lengths:
            part = qkv[start : start + length].view(1, length, -1, dim).transpose(1, 2)
            q, k, v = part.split([heads, kv_heads, kv_heads], 1)
            one = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)
            out[start : start + length] = one.transpose(1, 2).reshape(length, heads * dim)
            start += length
        return out

    def silu_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        """The gated activation of [rows, 2 * width]."""
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up

    def resolve(self, staged: torch.Tensor, future: torch.Tensor, placed: torch.Tensor) -> None:
        """Put staged rows into place, symbolic tokens replaced by what their slots hold."""
        placed[: staged.shape[0]].copy_(staged)
        tokens = staged[:, TOKEN].long()
        known = torch.where(tokens < 0, future[(-tokens - 1).clamp(min=0)], tokens)
        placed[: staged.shape[0], TOKEN].copy_(known)
