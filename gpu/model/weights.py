"""Random weights of a model shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from scenarios.model import ModelShape

THETA = 500_000.0  # base of the rotary embedding, as Llama 3; its value changes tokens, not times


@dataclass(frozen=True)
class Layer:
    """One decoder layer; projections that read the same input are stored as one matrix, [out, in]."""

    input_norm: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    qk_norms: tuple[torch.Tensor, torch.Tensor] | None
    o: torch.Tensor
    post_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


@dataclass(frozen=True)
class Weights:
    """All weights of a model, on one device in one dtype, and the rotary table [positions, head_dim] as cos | sin."""

    shape: ModelShape
    embedding: torch.Tensor
    layers: tuple[Layer, ...]
    final_norm: torch.Tensor
    head: torch.Tensor
    rotary: torch.Tensor


def random_weights(
    shape: ModelShape, device: torch.device, dtype: torch.dtype, *, positions: int, seed: int = 0
) -> Weights:
    """Weights scaled so that activations stay of order one; the same seed gives the same weights on one device."""
    generator = torch.Generator(device).manual_seed(seed)

    def matrix(out: int, inner: int) -> torch.Tensor:
        weight = torch.empty(out, inner, device=device, dtype=dtype)
        return weight.normal_(0.0, inner**-0.5, generator=generator)

    def norm(size: int) -> torch.Tensor:
        return torch.ones(size, device=device, dtype=dtype)

    q, kv = shape.q_size, shape.kv_size
    layers = tuple(
        Layer(
            norm(shape.hidden),
            matrix(q + 2 * kv, shape.hidden),
            torch.zeros(q + 2 * kv, device=device, dtype=dtype) if shape.qkv_bias else None,
            (norm(shape.head_dim), norm(shape.head_dim)) if shape.qk_norm else None,
            matrix(shape.hidden, q),
            norm(shape.hidden),
            matrix(2 * shape.intermediate, shape.hidden),
            matrix(shape.hidden, shape.intermediate),
        )
        for _ in range(shape.layers)
    )
    embedding = torch.empty(shape.vocab, shape.hidden, device=device, dtype=dtype)
    embedding.normal_(0.0, 1.0, generator=generator)
    head = embedding if shape.tied_embeddings else matrix(shape.vocab, shape.hidden)
    half = shape.head_dim // 2
    inverse = THETA ** (-torch.arange(half, device=device, dtype=torch.float64) / half)
    angle = torch.arange(positions, device=device, dtype=torch.float64)[:, None] * inverse
    rotary = torch.cat([angle.cos(), angle.sin()], 1).float()
    return Weights(shape, embedding, layers, norm(shape.hidden), head, rotary)
