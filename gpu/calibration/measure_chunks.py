"""Pieces of prompts over a cache: what attention to cached tokens takes, and gathering their keys and values before.

Attention alone of a few layers is captured as a graph, with gathers and the gathers by themselves, over contexts of
several lengths: what a context adds is the slope, whatever a launch costs besides. Times are microseconds a layer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from gpu.calibration.clock import BF16, DEV, capture
from gpu.calibration.measure_layers import MODELS, medians
from gpu.engine.streams import Streams
from gpu.kernels.ops import TritonOps
from gpu.model.llama import Calls
from gpu.model.meta import PAGE
from gpu.model.ops import Prompts
from scenarios.loader import load_model
from scenarios.model import ModelShape

TOKENS = (512, 1024, 2048)
"""Tokens of a piece: in every model one leaves a multiprocessor one block of queries, and one gives it two."""
STARTS = (1024, 4096, 8192)
"""Tokens in the cache before it."""


def chunks() -> dict[str, Any]:
    """A row a model, length of a piece and length of its context: attention with the gathers, and the gathers alone."""
    return {"rows": [row for name, layers in MODELS.items() for row in _rows(load_model(name), layers)]}


def _rows(shape: ModelShape, layers: int) -> list[dict[str, Any]]:
    slots = (-(-(max(STARTS) + max(TOKENS)) // PAGE) + 1) * PAGE
    caches = [torch.randn(2, slots, shape.kv_heads, shape.head_dim, device=DEV, dtype=BF16) for _ in range(layers)]
    qkv = torch.randn(max(TOKENS), shape.q_size + 2 * shape.kv_size, device=DEV, dtype=BF16)
    out = torch.empty(max(TOKENS), shape.q_size, device=DEV, dtype=BF16)
    stream = Streams.new().forward
    ops = TritonOps(stream.cuda_stream)
    rows = []
    for tokens in TOKENS:
        for start in STARTS:
            prompts = _piece(start, tokens)
            these = partial(_itself, prompts)
            calls: Calls = []
            for keys, values in caches:
                calls += ops.chunk_attention(qkv[:tokens], these, keys, values, shape.heads, out[:tokens])
            parts = {"us": calls, "gathers": [call for call in calls if call[0] == "gather"]}
            graphs = {name: capture(partial(_launch, some), stream) for name, some in parts.items()}
            us = {name: round(each / layers, 3) for name, each in medians(graphs).items()}
            rows.append({"model": shape.name, "layers": layers, "tokens": tokens, "start": start} | us)
    return rows


def _piece(start: int, tokens: int) -> Prompts:
    """A prompt of which so many tokens lie in the cache, on pages that were handed out in no order."""
    stop = start + tokens
    pages = torch.randperm(-(-stop // PAGE), device=DEV) + 1
    slots = (pages[:, None] * PAGE + torch.arange(PAGE, device=DEV)).flatten()[:stop].to(torch.int32)
    starts, reads = (torch.tensor([0, end], dtype=torch.int32, device=DEV) for end in (tokens, stop))
    return Prompts((tokens,), starts, starts[1:] - 1, (stop,), reads, slots)


def _itself(prompts: Prompts) -> Prompts:
    return prompts


def _launch(calls: Calls) -> None:
    for _, call in calls:
        call()
