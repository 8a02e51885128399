"""What captured graphs hold of the device's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scenarios.model import ModelShape

BYTES_A_NODE = 3350
"""Device memory of an instantiated graph, a kernel node.

Measured on an H100 (driver 580.159, torch 2.11, 2026-11-26; the first ``captures`` of
``gpu/results/nvidia-h100/chapter.json``): the device had 20 MiB less after capturing and first replaying 35 graphs of
179 kernels each. It is handed out in pieces of 2 MiB, and what a process has given back is used again, so that later
captures show less. Engines whose allocators or libraries take more a graph have their own figure.
"""


@dataclass(frozen=True, slots=True)
class GraphMemory:
    """Bytes that a list of buckets holds: what each graph takes, and the pool that all of them share.

    ``a_graph`` is of one executable, ``a_row`` of the pool: graphs that are captured largest first and never run at
    once live in the memory of the largest. Leaves out workspaces of libraries, which eager steps need, too.
    """

    a_graph: int
    a_row: int

    @classmethod
    def of(cls, shape: ModelShape, nodes: int, a_graph: int | None = None) -> GraphMemory:
        """By the model's activations and nodes of a step; ``a_graph`` overrides what a graph takes."""
        return cls(nodes * BYTES_A_NODE if a_graph is None else a_graph, activations_a_row(shape))

    def held(self, graphs: int, largest: int) -> int:
        """Bytes of so many graphs of which the largest has so many rows."""
        return graphs * self.a_graph + largest * self.a_row

    def of_list(self, buckets: Sequence[int]) -> int:
        """Bytes of a list."""
        return self.held(len(buckets), buckets[-1])


def activations_a_row(shape: ModelShape) -> int:
    """Bytes of activations that live at once, a row: the most of any point of a pass.

    The residual stream and its norm live through a layer. Beside them stand queries, keys, values and what attention
    returns; or both halves of the MLP's width and their product; or, at the end, the logits.
    """
    attention = 2 * shape.q_size + 2 * shape.kv_size
    return shape.dtype_bytes * (2 * shape.hidden + max(attention, 3 * shape.intermediate, shape.vocab))
