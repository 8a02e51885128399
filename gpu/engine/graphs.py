"""Captured decode steps, one executable a bucket."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gpu.model.llama import Llama
from gpu.model.meta import LENGTH


@dataclass(frozen=True)
class Captured:
    """One bucket's graph: its static output, and what capturing and first replaying it took (ns) and holds (bytes)."""

    graph: torch.cuda.CUDAGraph
    logits: torch.Tensor
    capture_ns: int
    first_replay_ns: int
    memory: int


class DecodeGraphs:
    """Captures the forward pass from the placed rows to the logits, largest bucket first, in one shared pool.

    The shared pool is sound because at most one of the graphs has a live output at a time: a step's logits are
    sampled on the same stream before the next replay.
    """

    def __init__(self, model: Llama, meta: torch.Tensor, buckets: Sequence[int]) -> None:
        self.meta = meta
        meta[:, LENGTH] = 1  # until rows are placed, every row is a harmless one
        self._model = model
        self._pool = torch.cuda.graph_pool_handle()
        self.captured: dict[int, Captured] = {}
        for bucket in sorted(buckets, reverse=True):
            self.captured[bucket] = self._capture(bucket)

    def replay(self, bucket: int) -> torch.Tensor:
        """Launch a bucket's graph on the current stream; its logits, valid until the next replay."""
        captured = self.captured[bucket]
        captured.graph.replay()
        return captured.logits

    def _capture(self, bucket: int) -> Captured:
        rows = self.meta[:bucket]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # kernels compile and libraries make their handles outside of the capture
                self._model.decode(rows)
        torch.cuda.synchronize()
        free = torch.cuda.mem_get_info()[0]
        start = time.perf_counter_ns()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self._model.decode(rows)
        torch.cuda.synchronize()
        captured = time.perf_counter_ns()
        graph.replay()
        torch.cuda.synchronize()
        replayed = time.perf_counter_ns()
        return Captured(graph, logits, captured - start, replayed - captured, free - torch.cuda.mem_get_info()[0])
