"""A Llama-type transformer as kernels: which, in what order, with what work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scenarios.model import ModelShape
from sim.program.decode_curve import DecodeCurve, PaddedCurve, QueryWork
from sim.program.durations import Durations
from sim.program.ops import Collective, Kernel
from sim.program.prompts import Chunk

Node = Kernel | Collective


@dataclass(frozen=True, slots=True)
class Work:
    """What a forward pass computes.

    ``tokens`` new tokens go through the layers; ``sampled`` of them need logits. ``rows`` decode rows attend to
    ``context`` tokens in all, the new ones included, save ``padding`` of them, which attend to one token each and are
    not counted in it; ``prompts`` are pieces of prompts, tokens that lie in the cache
    and tokens that are computed, which attend to those and causally to themselves.
    """

    tokens: int
    sampled: int
    rows: int = 0
    context: int = 0
    prompts: tuple[Chunk, ...] = ()
    padding: int = 0

    @property
    def gathered(self) -> int:
        """Tokens whose keys and values prompts read from the cache: all before and in them, where any lie before."""
        return sum(start + tokens for start, tokens in self.prompts) if any(start for start, _ in self.prompts) else 0


@dataclass(frozen=True, slots=True)
class Pass:
    """The kernels of a forward pass, collectives among them: a head, a layer that is repeated, and a tail."""

    head: tuple[Node, ...]
    layer: tuple[Node, ...]
    tail: tuple[Node, ...]
    layers: int

    @property
    def distinct(self) -> tuple[Node, ...]:
        """Each kernel once."""
        return self.head + self.layer + self.tail

    @property
    def kernels(self) -> tuple[Node, ...]:
        """All kernels in the order of their launches."""
        return self.head + self.layer * self.layers + self.tail


class Transformer:
    """Lowers a batch to the kernels of one forward pass and of sampling.

    Two grains. ``engine``: what a serving engine launches, 11 kernels a layer. Normalization adds the residual on the
    way, rotary embedding normalizes queries and keys first where the model has such norms, and cache write and
    activation are one kernel each. ``pytorch``: what eager PyTorch modules launch, one kernel an operation, 40 a layer
    (6 more with query and key norms, 3 more with biases). Decode attention is two kernels, over parts of contexts and
    over the parts; in prefill one kernel serves all prompts, after two that gather what they read
    from the cache where one of them goes on from there. Matrix products and attention are the same kernels in
    both grains, except that the projections are separate in the second. Weights are read once a step; activations
    count too. ``tile``: matrix products compute whole tiles of so many rows. Calls are told apart where their host
    costs differ: a product with a bias, and the one that sums over the MLP's width, which cuBLAS splits into two
    launches (``gemm_long``).
    """

    def __init__(self, shape: ModelShape, durations: Durations, grain: str, tile: int = 1) -> None:
        self.shape = shape
        self.durations = durations
        self.grain = grain
        self.tile = tile
        self._decode_work = QueryWork(
            4 * shape.q_size, 2 * shape.kv_size * shape.dtype_bytes, 2 * shape.q_size * shape.dtype_bytes
        )
        self._fixed: dict[tuple[int, int, bool], tuple[tuple[Kernel, ...], ...]] = {}

    def forward(self, work: Work) -> Pass:
        """All kernels from the embedding to the logits."""
        key = work.tokens, work.sampled, bool(work.prompts)
        fixed = self._fixed.get(key)
        if fixed is None:
            fixed = self._fixed[key] = self._without_attention(*key)
        head, before, after, tail = fixed
        return Pass(head, (*before, *self._attention(work), *after), tail, self.shape.layers)

    def _without_attention(self, tokens: int, sampled: int, prompts: bool) -> tuple[tuple[Kernel, ...], ...]:
        """Head, layer before and after attention, and tail: what depends on numbers of tokens alone."""
        shape = self.shape
        layer = list(self._engine_layer(tokens) if self.grain == "engine" else self._pytorch_layer(tokens))
        hole = layer.index(None)
        before, after = (tuple(k for k in half if k is not None) for half in (layer[:hole], layer[hole:]))
        tail = self._norm(tokens, "final_norm")
        if prompts:
            tail.append(self._elementwise(sampled, shape.hidden, "last_tokens", reads=1, call="index"))
        tail.append(self._gemm("lm_head", sampled, shape.vocab, shape.hidden))
        return (self._embedding(tokens),), before, after, tuple(tail)

    def sample(self, rows: int) -> tuple[Kernel, ...]:
        """Greedy sampling: the index of the largest logit of each row."""
        vocab = self.shape.vocab
        nbytes = rows * vocab * self.shape.dtype_bytes
        return (self.durations.kernel("argmax", "argmax", "sample", nbytes=nbytes, rows=rows, shape=(vocab,)),)

    def _embedding(self, tokens: int) -> Kernel:
        hidden = self.shape.hidden
        nbytes = 2 * tokens * hidden * self.shape.dtype_bytes
        return self.durations.kernel("embedding", "embedding", "embedding", nbytes=nbytes, rows=tokens, shape=(hidden,))

    def _gemm(self, name: str, rows: int, n: int, k: int, call: str = "gemm") -> Kernel:
        rows = -(-rows // self.tile) * self.tile
        weights, width = n * k * self.shape.dtype_bytes, (n + k) * self.shape.dtype_bytes
        return self.durations.kernel(
            name, call, "gemm", flops=2 * rows * n * k, nbytes=weights + rows * width, weights=weights, rows=rows,
            shape=(n, k),
        )  # fmt: skip

    def _elementwise(self, rows: int, width: int, name: str, *, reads: int, call: str = "elementwise") -> Kernel:
        nbytes = (reads + 1) * rows * width * self.shape.dtype_bytes
        return self.durations.kernel(name, call, "elementwise", nbytes=nbytes)

    def _fused_norm(self, rows: int, width: int, name: str) -> Kernel:
        nbytes = (4 * rows + 1) * width * self.shape.dtype_bytes  # sum and norm are written, the weights read
        return self.durations.kernel(name, "norm", "norm", nbytes=nbytes, rows=rows, shape=(width,))

    def _norm(self, tokens: int, name: str) -> list[Kernel]:
        """A normalization over the hidden dimension, fused or operation by operation in float32."""
        hidden = self.shape.hidden
        if self.grain == "engine":
            return [self._fused_norm(tokens, hidden, name)]
        steps = (
            ("to_float", 1),
            ("pow", 1),
            ("mean", 1),
            ("add_eps", 0),
            ("rsqrt", 0),
            ("mul", 1),
            ("to_bf16", 1),
            ("mul_weight", 1),
        )
        return [
            self._elementwise(tokens, hidden if reads else 1, f"{name}.{step}", reads=max(1, reads))
            for step, reads in steps
        ]

    @property
    def _heads(self) -> tuple[int, int, int]:
        return self.shape.heads, self.shape.kv_heads, self.shape.head_dim

    def decode_attention(self, rows: int, context: int, padding: int = 0) -> Kernel:
        """One query a row over so many tokens in all, over parts of every row's context.

        ``padding`` of the rows attend to a token each, which ``context`` leaves out.
        """
        kernel = self.durations.decode_attention(self._heads, rows, context + padding, self._decode_work)
        return replace(kernel, ns=self.decode_curve(rows, padding).ns(context)) if padding else kernel

    def decode_curve(self, rows: int, padding: int = 0) -> DecodeCurve | PaddedCurve:
        """What decode attention of so many rows takes, as a function of the tokens of those that are no padding."""
        curve = self.durations.decode_curve(self._heads, rows, self._decode_work)
        if not padding:
            return curve
        return PaddedCurve(curve, self.durations.decode_curve(self._heads, rows - padding, self._decode_work), padding)

    def _attention(self, work: Work) -> Iterator[Kernel]:
        shape = self.shape
        if work.rows:
            yield self.decode_attention(work.rows, work.context, work.padding)
            nbytes = 2 * work.rows * shape.q_size * shape.dtype_bytes
            yield self.durations.kernel(
                "combine", "combine", "attention_combine", nbytes=nbytes, rows=work.rows, shape=(shape.q_size,)
            )
        if keys := work.gathered:
            nbytes = 2 * keys * shape.kv_size * shape.dtype_bytes
            for name in ("gather_keys", "gather_values"):
                yield self.durations.kernel(
                    name, "gather", self.durations.read, nbytes=nbytes, rows=keys, shape=(shape.kv_size,)
                )
        if work.prompts:
            yield self.durations.prefill_attention(self._heads, work.prompts, self._prefill_work)

    def _prefill_work(self, start: int, tokens: int) -> tuple[int, int]:
        """Operations and bytes of new tokens' attention to all before them, ``start`` of which are in the cache.

        To one another they attend causally, half of the full square.
        """
        shape = self.shape
        moved = 2 * tokens * shape.q_size + 2 * (start + tokens) * shape.kv_size
        return 2 * tokens * (tokens + 2 * start) * shape.q_size, moved * shape.dtype_bytes

    def _rope(self, tokens: int) -> Kernel:
        width = self.shape.q_size + self.shape.kv_size
        nbytes = 2 * tokens * width * self.shape.dtype_bytes
        return self.durations.kernel("rope", "rope", "rope", nbytes=nbytes, rows=tokens, shape=(width,))

    def _kv_write(self, tokens: int) -> Kernel:
        width = self.shape.kv_size
        nbytes = 4 * tokens * width * self.shape.dtype_bytes
        return self.durations.kernel("kv_write", "kv_write", "kv_write", nbytes=nbytes, rows=tokens, shape=(width,))

    def _activation(self, tokens: int) -> Kernel:
        width = self.shape.intermediate
        nbytes = 3 * tokens * width * self.shape.dtype_bytes
        return self.durations.kernel(
            "silu_and_mul", "elementwise", "elementwise", nbytes=nbytes, rows=tokens, shape=(width,)
        )

    def _engine_layer(self, tokens: int) -> Iterator[Kernel | None]:
        """One layer as a serving engine launches it; None stands for attention."""
        s = self.shape
        yield self._fused_norm(tokens, s.hidden, "input_norm")
        with_bias = "gemm_bias" if s.qkv_bias else "gemm"
        yield self._gemm("qkv_proj", tokens, s.q_size + 2 * s.kv_size, s.hidden, with_bias)
        yield self._rope(tokens)
        yield self._kv_write(tokens)
        yield None
        yield self._gemm("o_proj", tokens, s.hidden, s.q_size)
        yield self._fused_norm(tokens, s.hidden, "post_attention_norm")
        yield self._gemm("gate_up_proj", tokens, 2 * s.intermediate, s.hidden)
        yield self._activation(tokens)
        yield self._gemm("down_proj", tokens, s.hidden, s.intermediate, "gemm_long")

    def _pytorch_layer(self, tokens: int) -> Iterator[Kernel | None]:
        """One layer as eager PyTorch modules launch it; None stands for attention."""
        s = self.shape
        yield from self._norm(tokens, "input_norm")
        for name, size in (("q_proj", s.q_size), ("k_proj", s.kv_size), ("v_proj", s.kv_size)):
            yield self._gemm(name, tokens, size, s.hidden)
            if s.qkv_bias:
                yield self._elementwise(tokens, size, f"{name}.bias", reads=1)
        if s.qk_norm:
            for name, size in (("q_norm", s.q_size), ("k_norm", s.kv_size)):
                for step in ("pow", "mean", "rsqrt_mul"):
                    yield self._elementwise(tokens, size, f"{name}.{step}", reads=1)
        for name, size in (("rope_q", s.q_size), ("rope_k", s.kv_size)):
            for step in ("neg", "cat", "mul_cos", "mul_sin", "add"):
                yield self._elementwise(tokens, size, f"{name}.{step}", reads=1)
        yield self._kv_write(tokens)
        yield self._kv_write(tokens)
        yield None
        yield self._gemm("o_proj", tokens, s.hidden, s.q_size)
        yield self._elementwise(tokens, s.hidden, "residual_attention", reads=2)
        yield from self._norm(tokens, "post_attention_norm")
        yield self._gemm("gate_proj", tokens, s.intermediate, s.hidden)
        yield self._elementwise(tokens, s.intermediate, "silu", reads=1)
        yield self._gemm("up_proj", tokens, s.intermediate, s.hidden)
        yield self._elementwise(tokens, s.intermediate, "mul", reads=2)
        yield self._gemm("down_proj", tokens, s.hidden, s.intermediate)
        yield self._elementwise(tokens, s.hidden, "residual_mlp", reads=2)
