"""The forward pass: from a step's rows to logits."""

from __future__ import annotations

from typing import Any

import torch

from gpu.model.ops import TorchOps
from gpu.model.weights import Layer, Weights


class Llama:
    """A decoder over a paged cache. ``ops`` decides whether operations are fused kernels or plain torch.

    ``caches`` are [2, slots, kv_heads, head_dim] a layer: keys, then values.
    """

    def __init__(self, weights: Weights, num_slots: int, ops: TorchOps, *, seed: int = 0) -> None:
        self.weights = weights
        self.ops = ops
        shape, like = weights.shape, weights.embedding
        generator = torch.Generator(like.device).manual_seed(seed + 1)
        self.caches = [
            torch.empty(2, num_slots, shape.kv_heads, shape.head_dim, device=like.device, dtype=like.dtype).normal_(
                generator=generator
            )
            for _ in range(shape.layers)
        ]

    def decode(self, meta: torch.Tensor) -> torch.Tensor:
        """Logits [rows, vocab] of one new token a row."""
        return self._forward(meta, None)

    def prefill(self, meta: torch.Tensor, lengths: tuple[int, ...], last: torch.Tensor) -> torch.Tensor:
        """Logits of the last token of each prompt; ``last`` [prompts] are their rows."""
        return self._forward(meta, (lengths, last))

    def _forward(self, meta: torch.Tensor, prompts: tuple[tuple[int, ...], torch.Tensor] | None) -> torch.Tensor:
        weights, ops = self.weights, self.ops
        residual = ops.embed(meta, weights.embedding)
        x = ops.norm(residual, weights.layers[0].input_norm)
        for number, layer in enumerate(weights.layers):
            x = self._attend(layer, x, meta, self.caches[number], prompts)
            x, residual = ops.add_norm(x, residual, layer.post_norm)
            x = ops.linear(ops.silu_mul(ops.linear(x, layer.gate_up)), layer.down)
            following = (
                weights.layers[number + 1].input_norm if number + 1 < len(weights.layers) else weights.final_norm
            )
            x, residual = ops.add_norm(x, residual, following)
        if prompts is not None:
            x = x.index_select(0, prompts[1])
        return ops.linear(x, weights.head)

    def _attend(
        self, layer: Layer, x: torch.Tensor, meta: torch.Tensor, cache: torch.Tensor, prompts: Any
    ) -> torch.Tensor:
        shape, ops = self.weights.shape, self.ops
        qkv = ops.linear(x, layer.qkv, layer.qkv_bias)
        ops.rope(qkv, meta, self.weights.rotary, shape.heads, layer.qk_norms)
        ops.write_cache(qkv, meta, cache[0], cache[1], shape.heads)
        if prompts is None:
            attended = ops.decode_attention(qkv, meta, cache[0], cache[1], shape.heads)
        else:
            attended = ops.prefill_attention(qkv, prompts[0], shape.heads, shape.kv_heads)
        return ops.linear(attended, layer.o)
