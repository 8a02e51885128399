"""Lists of batch sizes that engines capture by default."""

from __future__ import annotations

PUBLISHED: dict[str, tuple[int, ...]] = {
    "powers of two": tuple(2**i for i in range(9)),
    "every 8": tuple(range(8, 257, 8)),
    "vLLM": (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)),
    "mini-sglang": (1, 2, 4, *range(8, 257, 8)),
}
"""vLLM: 1, 2, 4, every 8 below 256, every 16 up to 512 (docs/design/cuda_graphs.md). mini-sglang at 20fcd7f: 1, 2, 4,
then every 8 up to 256 on a GPU with more than 80 GB (engine/graph.py). Up to 256, this project's ``max_batch``, are
powers of two, TensorRT-LLM's default until 2026, and plain multiples of 8.
"""
