"""The operations of a forward pass as fused kernels on a CUDA GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gpu.kernels import fused
from gpu.kernels.decode_attention import bind_decode_attention
from gpu.model.meta import LENGTH, PAGE, TABLE
from gpu.model.ops import EPSILON, Call, Norms, Prompts, TorchOps
from sim.program.splits import num_splits_for


class TritonOps(TorchOps):
    """One kernel an operation, two for decode attention, all on one stream; what is not here is torch's own kernel.

    ``scratch`` holds the parts of split attention; one buffer serves all layers, which run one after the other.
    """

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._multiprocessors = torch.cuda.get_device_properties(0).multi_processor_count
        self._scratch: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def embed(self, meta: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> Call:
        """See ``Ops``."""
        return fused.embed(self._stream, meta, table, out)

    def norm(self, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> Call:
        """See ``Ops``."""
        return fused.norm(self._stream, x, weight, out, EPSILON)

    def add_norm(self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> Call:
        """See ``Ops``."""
        return fused.add_norm(self._stream, x, residual, weight, out, EPSILON)

    def rope(
        self, qkv: torch.Tensor, meta: torch.Tensor, rotary: torch.Tensor, heads: int, norms: Norms | None
    ) -> Call:
        """See ``Ops``."""
        return fused.rope(self._stream, qkv, meta, rotary, heads, norms, EPSILON)

    def write_cache(
        self, qkv: torch.Tensor, meta: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, heads: int
    ) -> Call:
        """See ``Ops``."""
        return fused.write_cache(self._stream, qkv, meta, k_cache, v_cache, heads)

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
        splits = num_splits_for(rows, kv_heads, dim, self._multiprocessors)
        shape = rows * heads, splits, dim
        if shape not in self._scratch:
            self._scratch[shape] = (
                torch.empty(shape, device=qkv.device),
                torch.empty(rows * heads, splits, 2, device=qkv.device),
            )
        q = qkv.view(rows, -1, dim)[:, :heads]
        split, combine = bind_decode_attention(
            self._stream, q, k_cache, v_cache, meta[:, TABLE:], meta[:, LENGTH], *self._scratch[shape],
            out.view(rows, heads, dim), PAGE,
        )  # fmt: skip
        return [("attention", split), ("combine", combine)]

    def prefill_attention(
        self, qkv: torch.Tensor, prompts: Callable[[], Prompts], heads: int, kv_heads: int, out: torch.Tensor
    ) -> Call:
        """See ``Ops``: torch's flash attention over prompts of any lengths, one launch for all and one for its result.

        It knows types of two bytes only; other prompts take plain torch's way.
        """
        if qkv.element_size() != 2:
            return super().prefill_attention(qkv, prompts, heads, kv_heads, out)
        rows = qkv.shape[0]
        dim = qkv.shape[1] // (heads + 2 * kv_heads)
        q, k, v = qkv.view(rows, -1, dim).split([heads, kv_heads, kv_heads], 1)
        into = out.view(rows, heads, dim)
        attend = torch.ops.aten._flash_attention_forward  # noqa: SLF001  torch.nn.attention.varlen calls it too

        def call() -> None:
            these = prompts()
            longest = max(these.lengths)
            into.copy_(attend(q, k, v, these.starts, these.starts, longest, longest, 0.0, True, False)[0])

        return call

    def _attend_chunks(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, these: Prompts, out: torch.Tensor
    ) -> None:
        if q.element_size() != 2:
            super()._attend_chunks(q, k, v, these, out)
            return
        attend = torch.ops.aten._flash_attention_forward  # noqa: SLF001  its causal mask ends at the last of both
        longest = max(these.lengths), max(these.reads)
        out.copy_(attend(q, k, v, these.starts, these.read_starts, *longest, 0.0, True, False)[0])

    def silu_mul(self, gate_up: torch.Tensor, out: torch.Tensor) -> Call:
        """See ``Ops``."""
        return fused.silu_mul(self._stream, gate_up, out)

    def resolve(self, staged: torch.Tensor, future: torch.Tensor, placed: torch.Tensor) -> Call:
        """See ``Ops``."""
        return fused.resolve(self._stream, staged, future, placed)

    def store(self, tokens: torch.Tensor, slots: torch.Tensor, future: torch.Tensor) -> Call:
        """See ``Ops``."""
        return fused.store(self._stream, tokens, slots, future)
