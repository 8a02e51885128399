"""One rank's part of a transformer that several devices compute together.

Every rank holds a slice of each weight matrix, as in Megatron-LM (Shoeybi et al., 2019): whole heads of attention,
columns of the MLP, rows of the vocabulary. After the embedding, the attention and the MLP their partial sums are added
up by an all-reduce, and the slices of the logits are gathered. Left out: sequence parallelism, and all-reduces that are
fused with what follows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scenarios.model import ModelShape
from sim.program.durations import Durations
from sim.program.ops import Collective, Kernel
from sim.program.transformer import Node, Pass, Transformer, Work

SUMMED = ("embedding", "o_proj", "down_proj")
"""Kernels whose results are partial sums."""
SLICED = ("heads", "kv_heads", "intermediate", "vocab")
"""Sizes of a model that the ranks share out."""


def sharded(shape: ModelShape, ranks: int) -> ModelShape:
    """The slice that each rank computes; raises ``ValueError`` for a size that cannot be shared out evenly."""
    uneven = [f"{name} ({getattr(shape, name)})" for name in SLICED if getattr(shape, name) % ranks]
    if uneven:
        raise ValueError(f"{', '.join(uneven)} of {shape.name} cannot be shared out evenly")
    return shape.model_copy(update={name: getattr(shape, name) // ranks for name in SLICED})


@dataclass(frozen=True, slots=True)
class Links:
    """What a collective costs beyond waiting: ``latency`` (ns), and its traffic at ``bandwidth`` (bytes a second).

    Of n bytes each rank of r sends 2 (r - 1) / r n for an all-reduce and (r - 1) / r n for a gather, as in a ring.
    """

    ranks: int
    latency: int
    bandwidth: int

    def all_reduce(self, nbytes: int) -> Collective:
        """Sum up the same buffer of all ranks."""
        return self._collective("all-reduce", 2 * nbytes)

    def all_gather(self, nbytes: int) -> Collective:
        """Put the slices of a buffer together on all ranks; ``nbytes`` is the whole."""
        return self._collective("all-gather", nbytes)

    def _collective(self, key: str, nbytes: int) -> Collective:
        sent = nbytes * (self.ranks - 1) // self.ranks
        return Collective(key, self.ranks, self.latency + round(sent * 1e9 / self.bandwidth))


class ParallelTransformer(Transformer):
    """Kernels of one rank, and the collectives between them."""

    def __init__(self, shape: ModelShape, links: Links, durations: Durations, grain: str, tile: int = 1) -> None:
        super().__init__(sharded(shape, links.ranks), durations, grain, tile)
        self._whole = Transformer(shape, durations, grain, tile)
        self._links = links

    def forward(self, work: Work) -> Pass:
        """All kernels from the embedding to the logits, which every rank ends up with."""
        own = super().forward(work)
        hidden = work.tokens * self.shape.hidden * self.shape.dtype_bytes
        logits = work.sampled * self._whole.shape.vocab * self.shape.dtype_bytes
        head, layer = (tuple(self._summed(part, hidden)) for part in (own.head, own.layer))
        return Pass(head, layer, (*own.tail, self._links.all_gather(logits)), own.layers)

    def sample(self, rows: int) -> tuple[Kernel, ...]:
        """Every rank samples from all logits, and so knows the next tokens."""
        return self._whole.sample(rows)

    def _summed(self, nodes: tuple[Node, ...], nbytes: int) -> Iterator[Node]:
        for node in nodes:
            yield node
            if node.name in SUMMED:
                yield self._links.all_reduce(nbytes)
