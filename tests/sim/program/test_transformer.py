"""A transformer as kernels: which ones, and the sums of their work in closed form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.loader import load_model, load_profile
from scenarios.model import ModelShape
from sim.program.durations import Durations
from sim.program.ops import Kernel
from sim.program.transformer import Transformer, Work

TINY = load_model("tiny")
DURATIONS = Durations(load_profile("nvidia-h200"))
NORM = ["to_float", "pow", "mean", "add_eps", "rsqrt", "mul", "to_bf16", "mul_weight"]
ROPE = ["neg", "cat", "mul_cos", "mul_sin", "add"]

shapes = st.builds(
    lambda heads, share, **sizes: ModelShape(name="any", heads=heads * share, kv_heads=heads, **sizes),
    heads=st.integers(1, 4),
    share=st.integers(1, 4),
    layers=st.integers(1, 3),
    hidden=st.integers(1, 99),
    head_dim=st.integers(1, 32),
    intermediate=st.integers(1, 99),
    vocab=st.integers(1, 999),
    qk_norm=st.booleans(),
    qkv_bias=st.booleans(),
    tied_embeddings=st.booleans(),
)
grains = st.sampled_from(("engine", "pytorch"))


def decode(
    rows: int, context: int, shape: ModelShape = TINY, grain: str = "engine", tile: int = 1
) -> tuple[Kernel, ...]:
    return Transformer(shape, DURATIONS, grain, tile).forward(Work(rows, rows, rows=rows, context=context)).kernels


def prefill(*prompts: int, grain: str = "engine") -> tuple[Kernel, ...]:
    return (
        Transformer(TINY, DURATIONS, grain)
        .forward(Work(sum(prompts), len(prompts), prompts=tuple((0, length) for length in prompts)))
        .kernels
    )


def gemm_parameters(shape: ModelShape) -> int:
    """Weights that take part in a product: all but the input embedding, the norms and the biases."""
    norms = 2 * shape.hidden + (2 * shape.head_dim if shape.qk_norm else 0)
    biases = shape.q_size + 2 * shape.kv_size if shape.qkv_bias else 0
    embedding = 0 if shape.tied_embeddings else shape.vocab * shape.hidden
    return shape.num_parameters - embedding - shape.layers * (norms + biases) - shape.hidden


def attention(kernels: tuple[Kernel, ...]) -> list[Kernel]:
    return [k for k in kernels if k.name in ("decode_attention", "prefill_attention")]


def products(kernels: tuple[Kernel, ...]) -> list[Kernel]:
    return [k for k in kernels if k.call.startswith("gemm")]


def test_one_layer_of_an_engine() -> None:
    one = TINY.model_copy(update={"layers": 1})
    assert [k.name for k in decode(4, 64, one)] == [
        "embedding", "input_norm", "qkv_proj", "rope", "kv_write", "decode_attention", "combine", "o_proj",
        "post_attention_norm", "gate_up_proj", "silu_and_mul", "down_proj", "final_norm", "lm_head",
    ]  # fmt: skip


def test_one_layer_of_eager_pytorch() -> None:
    one = TINY.model_copy(update={"layers": 1})
    assert [k.name for k in decode(4, 64, one, "pytorch")] == [
        "embedding", *(f"input_norm.{step}" for step in NORM), "q_proj", "k_proj", "v_proj",
        *(f"rope_q.{step}" for step in ROPE), *(f"rope_k.{step}" for step in ROPE), "kv_write", "kv_write",
        "decode_attention", "combine", "o_proj", "residual_attention",
        *(f"post_attention_norm.{step}" for step in NORM), "gate_proj", "silu",
        "up_proj", "mul", "down_proj", "residual_mlp",
        *(f"final_norm.{step}" for step in NORM), "lm_head",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("grain", "changes", "a_layer"),
    [
        ("engine", {}, 11),
        ("engine", {"qk_norm": True}, 11),
        ("engine", {"qkv_bias": True}, 11),
        ("pytorch", {}, 41),
        ("pytorch", {"qk_norm": True}, 47),
        ("pytorch", {"qkv_bias": True}, 44),
    ],
)
def test_kernels_a_layer(grain: str, changes: dict[str, bool], a_layer: int) -> None:
    counts = [len(decode(4, 64, TINY.model_copy(update={**changes, "layers": n}), grain)) for n in (1, 2, 7)]
    assert counts[1] - counts[0] == a_layer
    assert counts[2] - counts[0] == 6 * a_layer


@given(shapes, grains, st.integers(1, 512))
def test_gemm_flops_of_a_decode_step_are_two_a_parameter_and_row(shape: ModelShape, grain: str, rows: int) -> None:
    flops = sum(k.flops for k in products(decode(rows, rows, shape, grain)))
    assert flops == 2 * gemm_parameters(shape) * rows


@given(shapes, grains, st.integers(1, 512))
def test_weights_are_read_once_a_step_whatever_the_rows(shape: ModelShape, grain: str, rows: int) -> None:
    one, two, many = (sum(k.bytes for k in products(decode(n, n, shape, grain))) for n in (rows, 2 * rows, 3 * rows))
    assert two - one == many - two
    assert one - (two - one) == gemm_parameters(shape) * shape.dtype_bytes


@given(grains, st.integers(1, 64), st.integers(1, 10_000), st.integers(1, 10_000))
def test_decode_attention_reads_the_summed_context(grain: str, rows: int, context: int, more: int) -> None:
    before, after = (attention(decode(rows, c, grain=grain)) for c in (context, context + more))
    assert len(before) == TINY.layers
    grown = sum(k.bytes for k in after) - sum(k.bytes for k in before)
    assert grown == more * TINY.kv_bytes_per_token
    assert [k.flops for k in after] == [4 * (context + more) * TINY.q_size] * TINY.layers
    assert all(k.ns <= later.ns for k, later in zip(before, after, strict=True))


@given(grains, st.lists(st.integers(1, 4_000), min_size=1, max_size=5))
def test_prefill_attention_grows_with_the_square_of_each_prompt(grain: str, prompts: list[int]) -> None:
    found = attention(prefill(*prompts, grain=grain))
    assert [k.flops for k in found] == [sum(2 * n * n * TINY.q_size for n in prompts)] * TINY.layers


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_attention_of_a_prompts_pieces_is_that_of_the_whole_prompt(pieces: list[int]) -> None:
    chunks = [(sum(pieces[:i]), tokens) for i, tokens in enumerate(pieces)]
    steps = [Transformer(TINY, DURATIONS, "engine").forward(Work(c[1], 1, prompts=(c,))).kernels for c in chunks]
    flops = sum(k.flops for kernels in steps for k in attention(kernels))
    assert flops == sum(k.flops for k in attention(prefill(sum(pieces))))
    gathered = [sum(k.bytes for k in kernels if k.name.startswith("gather")) for kernels in steps]
    a_token = TINY.layers * 4 * TINY.kv_size * TINY.dtype_bytes  # keys and values, read and written
    assert gathered == [a_token * (start + tokens) if start else 0 for start, tokens in chunks]


@given(shapes, st.integers(1, 512), st.integers(1, 64))
def test_matrix_products_compute_whole_tiles(shape: ModelShape, rows: int, tile: int) -> None:
    tiled = products(decode(rows, rows, shape, tile=tile))
    assert tiled == products(decode(-(-rows // tile) * tile, rows, shape))


def test_products_whose_host_cost_differs_are_told_apart() -> None:
    calls = [k.call for k in products(decode(4, 64, TINY.model_copy(update={"layers": 1, "qkv_bias": True})))]
    assert calls == ["gemm_bias", "gemm", "gemm", "gemm_long", "gemm"]


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.2-1b", "qwen2.5-0.5b", "qwen3-0.6b"])
def test_every_kernel_of_a_shipped_models_decode_step_was_measured(name: str) -> None:
    """At 12 rows of 384 tokens, in a tile of 16, all durations are points of tables."""
    tables = [table for cost in load_profile("nvidia-h200").kernels.values() for table in cost.table]
    measured = {ns for table in tables for size, ns in table.points if size in (12, 16, 384)}
    kernels = decode(12, 12 * 384, load_model(name), tile=16)
    assert {kernel.name for kernel in kernels if kernel.ns not in measured} == set()


def test_prefill_computes_logits_of_the_last_tokens_only() -> None:
    *_, index, head = prefill(100, 50)
    assert (index.name, index.call) == ("last_tokens", "index")
    assert head.flops == 2 * 2 * TINY.vocab * TINY.hidden
    assert "last_tokens" not in [k.name for k in decode(2, 150)]


def test_sampling_reads_every_logit_once() -> None:
    (argmax,) = Transformer(TINY, DURATIONS, "engine").sample(3)
    assert (argmax.name, argmax.bytes) == ("argmax", 3 * 512 * 2)
