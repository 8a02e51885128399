"""The models a scenario can serve: a transformer's shape, or a timer that stands for one.

`ModelShape` is a dense decoder of the Llama type (grouped-query attention, gated MLP, RMSNorm, rotary
embedding). It leaves out what does not change the cost of a step: rotary parameters, sliding windows,
the values of the weights. Mixtures of experts are out of scope.
"""

from typing import Literal

from pydantic import model_validator

from scenarios.errors import Refusal
from scenarios.table import Count, Duration, Table

_DTYPE_BYTES = {"bf16": 2, "fp16": 2}


class ModelShape(Table):
    """Sizes of a dense decoder-only transformer."""

    name: str
    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    intermediate: Count
    vocab: Count
    qk_norm: bool = False
    qkv_bias: bool = False
    tied_embeddings: bool = False
    dtype: Literal["bf16", "fp16"] = "bf16"

    @model_validator(mode="after")
    def _heads_share_kv_heads_evenly(self) -> "ModelShape":
        if self.heads % self.kv_heads:
            raise Refusal(self.kv_heads, f"a divisor of heads ({self.heads})", at=("kv_heads",))
        return self

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one weight or activation."""
        return _DTYPE_BYTES[self.dtype]

    @property
    def q_size(self) -> int:
        """Elements of one token's queries."""
        return self.heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Elements of one token's keys in one layer; its values are as many."""
        return self.kv_heads * self.head_dim

    @property
    def num_parameters(self) -> int:
        """Weights of the whole model; a tied output head is counted once, with the embedding."""
        attention = self.hidden * (2 * self.q_size + 2 * self.kv_size)
        bias = self.q_size + 2 * self.kv_size if self.qkv_bias else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        layer = attention + bias + norms + 3 * self.hidden * self.intermediate
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        return embeddings + self.layers * layer + self.hidden

    @property
    def weight_bytes(self) -> int:
        """Device memory that the weights take."""
        return self.num_parameters * self.dtype_bytes

    @property
    def kv_bytes_per_token(self) -> int:
        """Device memory that one token's keys and values take, over all layers."""
        return 2 * self.layers * self.kv_size * self.dtype_bytes


class TimerModel(Table):
    """A model whose forward pass is one kernel that only takes time: `step` plus `per_row` for each row."""

    kind: Literal["timer"]
    step: Duration
    per_row: Duration = 0
