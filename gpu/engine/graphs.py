"""Captured decode steps, one executable a bucket."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gpu.engine.forwards import Forwards
from gpu.engine.streams import Streams
from gpu.model.meta import LENGTH


@dataclass
class Captured:
    """One bucket's graph, and what capturing and first replaying it took (ns) and what it holds (bytes)."""

    graph: torch.cuda.CUDAGraph
    capture_ns: int
    first_replay_ns: int
    memory: int


class DecodeGraphs:
    """Captures the forward pass from the placed rows to the logits, largest bucket first, in one shared pool.

    Rows are ``width`` columns of the passes' table each. The shared pool and the shared activations
    are sound because graphs run one after the other, and a step's logits are sampled before the next replay.
    """

    def __init__(self, forwards: Forwards, width: int, buckets: Sequence[int], streams: Streams) -> None:
        self._forwards = forwards
        self._streams = streams
        self._pool = torch.cuda.graph_pool_handle()
        self.captured: dict[int, Captured] = {}
        for bucket in sorted(buckets, reverse=True):
            meta = forwards.placed[: bucket * width].view(bucket, width)
            meta.zero_()  # whatever a step before has left here would pass for pages and slots
            meta[:, LENGTH] = 1  # until rows are placed, every row is a harmless one
            self.captured[bucket] = self._capture(bucket)

    def _capture(self, rows: int) -> Captured:
        calls = [call for _, call in self._forwards.decode(rows)]
        torch.cuda.synchronize()
        with torch.cuda.stream(self._streams.forward):
            for call in calls:  # libraries make their handles and workspaces outside of the capture
                call()
        torch.cuda.synchronize()
        free = torch.cuda.mem_get_info()[0]
        start = time.perf_counter_ns()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._streams.forward):
            for call in calls:
                call()
        torch.cuda.synchronize()
        captured = time.perf_counter_ns()
        graph.replay()
        torch.cuda.synchronize()
        replayed = time.perf_counter_ns()
        return Captured(graph, captured - start, replayed - captured, free - torch.cuda.mem_get_info()[0])
