"""The forward pass: from a step's rows to logits, as a list of launches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from gpu.model.ops import Call, Ops, Prompts
from gpu.model.weights import Layer, Weights

Calls = list[tuple[str, Call]]
"""Launches by kind, in order; the kinds are those whose host cost an engine preset names."""
TILE = 16
"""Matrix products compute whole tiles of so many rows, as tensor cores do: for fewer rows cuBLAS may choose kernels
that take twice as long, and which one it chooses would depend on every single row."""


def tiled(rows: int) -> int:
    """The rows that a matrix product of ``rows`` rows computes."""
    return -(-rows // TILE) * TILE


class Llama:
    """A decoder over a paged cache. ``ops`` decides whether operations are fused kernels or plain torch.

    ``caches`` are [2, slots, kv_heads, head_dim] a layer: keys, then values. Activations are allocated once, for
    ``rows`` new tokens of which ``sampled`` need logits: nothing is allocated while a step is launched. Rows that only
    fill a tile hold whatever was there.
    """

    def __init__(self, weights: Weights, num_slots: int, ops: Ops, *, rows: int, sampled: int, seed: int = 0) -> None:
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

        def buffer(width: int, count: int = rows) -> torch.Tensor:
            return torch.zeros(tiled(count), width, device=like.device, dtype=like.dtype)

        self._residual, self._x, self._y = (buffer(shape.hidden) for _ in range(3))
        self._qkv, self._attended = buffer(shape.q_size + 2 * shape.kv_size), buffer(shape.q_size)
        self._gate_up, self._active = buffer(2 * shape.intermediate), buffer(shape.intermediate)
        self._last, self.logits = buffer(shape.hidden, sampled), buffer(shape.vocab, sampled)

    def decode(self, meta: torch.Tensor) -> Calls:
        """Launches of one new token a row; its logits are the first rows of ``logits``."""
        tile = tiled(meta.shape[0])
        calls = list(self._layers(meta, None))
        head = self.ops.linear(self._x[:tile], self.weights.head, self.logits[:tile])
        return [*calls, ("gemm", head)]

    def prefill(
        self,
        meta: torch.Tensor,
        prompts: Callable[[], Prompts],
        decode: torch.Tensor | None = None,
        *,
        cached: bool = False,
    ) -> Calls:
        """Launches of prompts behind ``decode`` rows, whose table is given with their pages.

        The logits of the decode rows and of each prompt's last token are the first rows of ``logits``. ``cached`` says
        that some prompt goes on from the cache.
        """
        x = self._x
        calls = list(self._layers(meta, prompts, decode, cached=cached))

        def gather() -> None:
            ends = prompts().ends
            torch.index_select(x, 0, ends, out=self._last[: len(ends)])

        def head() -> None:
            tile = tiled(len(prompts().ends))
            self.ops.linear(self._last[:tile], self.weights.head, self.logits[:tile])()

        return [*calls, ("index", gather), ("gemm", head)]

    def _layers(
        self,
        meta: torch.Tensor,
        prompts: Callable[[], Prompts] | None,
        decode: torch.Tensor | None = None,
        *,
        cached: bool = False,
    ) -> Iterator[tuple[str, Call]]:
        weights, ops, rows = self.weights, self.ops, meta.shape[0]
        tile = tiled(rows)
        residual, x, y = self._residual[:rows], self._x[:rows], self._y[:rows]
        gate_up, active = self._gate_up[:tile], self._active[:tile]
        yield "embedding", ops.embed(meta, weights.embedding, residual)
        yield "norm", ops.norm(residual, weights.layers[0].input_norm, x)
        following = [layer.input_norm for layer in weights.layers[1:]] + [weights.final_norm]
        for layer, cache, next_norm in zip(weights.layers, self.caches, following, strict=True):
            yield from self._attend(layer, meta, cache, prompts, decode, cached=cached)
            yield "norm", ops.add_norm(y, residual, layer.post_norm, x)
            yield "gemm", ops.linear(self._x[:tile], layer.gate_up, gate_up)
            yield "elementwise", ops.silu_mul(gate_up[:rows], active[:rows])
            yield "gemm_long", ops.linear(active, layer.down, self._y[:tile])
            yield "norm", ops.add_norm(y, residual, next_norm, x)

    def _attend(
        self,
        layer: Layer,
        meta: torch.Tensor,
        cache: torch.Tensor,
        prompts: Callable[[], Prompts] | None,
        decode: torch.Tensor | None,
        *,
        cached: bool,
    ) -> Iterator[tuple[str, Call]]:
        """From the normalized rows ``x`` to the attention's contribution ``y``."""
        shape, ops, rows = self.weights.shape, self.ops, meta.shape[0]
        tile = tiled(rows)
        qkv, attended = self._qkv[:rows], self._attended[:rows]
        product = "gemm" if layer.qkv_bias is None else "gemm_bias"
        yield product, ops.linear(self._x[:tile], layer.qkv, self._qkv[:tile], layer.qkv_bias)
        yield "rope", ops.rope(qkv, meta, self.weights.rotary, shape.heads, layer.qk_norms)
        yield "kv_write", ops.write_cache(qkv, meta, cache[0], cache[1], shape.heads)
        if prompts is None:
            decode = meta
        first = 0 if decode is None else decode.shape[0]
        if decode is not None:
            yield from ops.decode_attention(qkv[:first], decode, cache[0], cache[1], shape.heads, attended[:first])
        if prompts is not None and cached:
            yield from ops.chunk_attention(qkv[first:], prompts, cache[0], cache[1], shape.heads, attended[first:])
        elif prompts is not None:
            attend = ops.prefill_attention(qkv[first:], prompts, shape.heads, shape.kv_heads, attended[first:])
            yield "attention_prefill", attend
        yield "gemm", ops.linear(self._attended[:tile], layer.o, self._y[:tile])
