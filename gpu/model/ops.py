"""The operations of a forward pass in plain torch: what runs on a CPU, and what the fused kernels are tested against.

Every operation is bound to its tensors once and called in every step: a step's host work is then that of its launches.
Shapes: ``x`` [rows, hidden], ``meta`` [rows, TABLE + pages] int32, caches [slots, kv_heads, head_dim]. Results go into
``out`` or, where there is none, in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812

from gpu.model.meta import LENGTH, PAGE, POSITION, SLOT, TABLE, TOKEN

EPSILON = 1e-6
Call = Callable[[], object]
Norms = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Prompts:
    """The prompts of the step that is being launched, one after the other behind its decode rows.

    ``starts`` int32 [prompts + 1] are their first rows, counted without decode rows, and the end of the last, ``ends``
    int32 the rows to sample from: all decode rows and the last of each prompt. Where one goes on from the cache each
    attends to ``reads`` tokens, from ``read_starts`` int32 [prompts + 1] on in ``read_slots`` of the cache.
    """

    lengths: tuple[int, ...]
    starts: torch.Tensor
    ends: torch.Tensor
    reads: tuple[int, ...] = ()
    read_starts: torch.Tensor | None = None
    read_slots: torch.Tensor | None = None


class Ops(Protocol):
    """One launch each."""

    def embed(self, meta: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> Call:
        """Embeddings of the rows' tokens."""

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, bias: torch.Tensor | None = None
    ) -> Call:
        """``x`` times the transposed weight."""

    def norm(self, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> Call:
        """Root-mean-square normalization over the last dimension."""

    def add_norm(self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> Call:
        """The normalized sum into ``out``, the sum in place of ``residual``."""

    def rope(
        self, qkv: torch.Tensor, meta: torch.Tensor, rotary: torch.Tensor, heads: int, norms: Norms | None
    ) -> Call:
        """Rotate queries and keys in place, normalized first if there are ``norms``; ``qkv`` [rows, all heads * dim].

        A row holds ``heads`` queries, then as many keys as values.
        """

    def write_cache(
        self, qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
    ) -> Call:
        """Put the rows' keys and values into their slots."""

    def decode_attention(
        self,
        qkv: torch.Tensor,
        meta: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        heads: int,
        out: torch.Tensor,
    ) -> list[tuple[str, Call]]:
        """Attention of one query a row over its live context, by kind of launch; ``out`` [rows, heads * dim]."""

    def prefill_attention(
        self, qkv: torch.Tensor, prompts: Callable[[], Prompts], heads: int, kv_heads: int, out: torch.Tensor
    ) -> Call:
        """Causal attention of each prompt to itself; ``prompts`` is asked at every call."""

    def chunk_attention(
        self,
        qkv: torch.Tensor,
        prompts: Callable[[], Prompts],
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        heads: int,
        out: torch.Tensor,
    ) -> list[tuple[str, Call]]:
        """The same where prompts go on from the cache, which holds their own keys and values by then, too."""

    def silu_mul(self, gate_up: torch.Tensor, out: torch.Tensor) -> Call:
        """The gated activation of [rows, 2 * width]."""

    def resolve(self, staged: torch.Tensor, future: torch.Tensor, placed: torch.Tensor) -> Call:
        """Put staged rows into place, symbolic tokens replaced by what their slots hold."""

    def store(self, tokens: torch.Tensor, slots: torch.Tensor, future: torch.Tensor) -> Call:
        """Keep sampled tokens in the slots that their rows name."""


class TorchOps:
    """Plain torch, on any device."""

    def embed(self, meta: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> Call:
        """See ``Ops``."""
        return lambda: out.copy_(F.embedding(meta[:, TOKEN], table))

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, bias: torch.Tensor | None = None
    ) -> Call:
        """See ``Ops``."""
        if bias is None:
            return partial(torch.mm, x, weight.t(), out=out)
        return partial(torch.addmm, bias, x, weight.t(), out=out)

    def norm(self, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> Call:
        """See ``Ops``."""
        return lambda: out.copy_(_norm(x, weight))

    def add_norm(self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> Call:
        """See ``Ops``."""

        def call() -> None:
            residual.add_(x)
            out.copy_(_norm(residual, weight))

        return call

    def rope(
        self, qkv: torch.Tensor, meta: torch.Tensor, rotary: torch.Tensor, heads: int, norms: Norms | None
    ) -> Call:
        """See ``Ops``."""
        dim = rotary.shape[1]
        split = qkv.view(qkv.shape[0], -1, dim)
        kv_heads = (split.shape[1] - heads) // 2
        turned = split[:, : heads + kv_heads]

        def call() -> None:
            if norms is not None:
                turned[:, :heads] = _norm(turned[:, :heads], norms[0])
                turned[:, heads:] = _norm(turned[:, heads:], norms[1])
            cos, sin = rotary[meta[:, POSITION].long()][:, None].chunk(2, -1)
            low, high = turned.float().chunk(2, -1)
            turned.copy_(torch.cat([low * cos - high * sin, high * cos + low * sin], -1))

        return call

    def write_cache(
        self, qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
    ) -> Call:
        """See ``Ops``."""
        kv_heads, dim = k_cache.shape[1:]
        split = qkv.view(qkv.shape[0], -1, dim)

        def call() -> None:
            slots = meta[:, SLOT].long()
            k_cache.index_copy_(0, slots, split[:, heads : heads + kv_heads])
            v_cache.index_copy_(0, slots, split[:, heads + kv_heads :])

        return call

    def decode_attention(
        self,
        qkv: torch.Tensor,
        meta: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        heads: int,
        out: torch.Tensor,
    ) -> list[tuple[str, Call]]:
        """See ``Ops``."""
        rows = qkv.shape[0]
        kv_heads, dim = k_cache.shape[1:]
        q = qkv.view(rows, -1, dim)[:, :heads]

        def call() -> None:
            position = torch.arange(int(meta[:, LENGTH].max()), device=qkv.device)
            slots = meta[:, TABLE + position // PAGE].long() * PAGE + position % PAGE
            live = position[None] < meta[:, LENGTH, None]
            k = k_cache[slots].repeat_interleave(heads // kv_heads, 2).transpose(1, 2)
            v = v_cache[slots].repeat_interleave(heads // kv_heads, 2).transpose(1, 2)
            attended = F.scaled_dot_product_attention(q[:, :, None], k, v, attn_mask=live[:, None, None])
            out.copy_(attended.reshape(rows, heads * dim))

        return [("attention", call)]

    def prefill_attention(
        self, qkv: torch.Tensor, prompts: Callable[[], Prompts], heads: int, kv_heads: int, out: torch.Tensor
    ) -> Call:
        """See ``Ops``."""
        dim = qkv.shape[1] // (heads + 2 * kv_heads)

        def call() -> None:
            start = 0
            for length in prompts().lengths:
                part = qkv[start : start + length].view(1, length, -1, dim).transpose(1, 2)
                q, k, v = part.split([heads, kv_heads, kv_heads], 1)
                one = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)
                out[start : start + length] = one.transpose(1, 2).reshape(length, heads * dim)
                start += length

        return call

    def chunk_attention(
        self,
        qkv: torch.Tensor,
        prompts: Callable[[], Prompts],
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        heads: int,
        out: torch.Tensor,
    ) -> list[tuple[str, Call]]:
        """See ``Ops``: gathers what is read from the cache, then attends as ``_attend_chunks`` does."""
        rows, dim = qkv.shape[0], k_cache.shape[2]
        q, into = qkv.view(rows, -1, dim)[:, :heads], out.view(rows, heads, dim)
        gathered: dict[str, torch.Tensor] = {}

        def gather(name: str, cache: torch.Tensor) -> None:
            slots = prompts().read_slots
            assert slots is not None
            gathered[name] = cache.index_select(0, slots)

        return [
            ("gather", partial(gather, "k", k_cache)),
            ("gather", partial(gather, "v", v_cache)),
            ("attention_prefill", lambda: self._attend_chunks(q, gathered["k"], gathered["v"], prompts(), into)),
        ]

    def _attend_chunks(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, these: Prompts, out: torch.Tensor
    ) -> None:
        """The last of each prompt's tokens, as many as it has queries, attend to those before them and causally."""
        row = read = 0
        for tokens, stop in zip(these.lengths, these.reads, strict=True):
            positions = torch.arange(stop, device=q.device)
            sees = positions[None] <= positions[stop - tokens :, None]
            queries, keys, values = q[row : row + tokens], k[read : read + stop], v[read : read + stop]
            one = F.scaled_dot_product_attention(
                queries[None].transpose(1, 2), keys[None].transpose(1, 2), values[None].transpose(1, 2),
                attn_mask=sees, enable_gqa=q.shape[1] != k.shape[1],
            )  # fmt: skip
            out[row : row + tokens] = one[0].transpose(0, 1)
            row, read = row + tokens, read + stop

    def silu_mul(self, gate_up: torch.Tensor, out: torch.Tensor) -> Call:
        """See ``Ops``."""
        gate, up = gate_up.chunk(2, -1)
        return lambda: torch.mul(F.silu(gate), up, out=out)

    def resolve(self, staged: torch.Tensor, future: torch.Tensor, placed: torch.Tensor) -> Call:
        """See ``Ops``."""
        rows = staged.shape[0]

        def call() -> None:
            placed[:rows].copy_(staged)
            tokens = staged[:, TOKEN].long()
            known = torch.where(tokens < 0, future[(-tokens - 1).clamp(min=0)], tokens)
            placed[:rows, TOKEN].copy_(known)

        return call

    def store(self, tokens: torch.Tensor, slots: torch.Tensor, future: torch.Tensor) -> Call:
        """See ``Ops``."""
        return lambda: future.index_copy_(0, slots.long(), tokens)


def _norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, EPSILON)
