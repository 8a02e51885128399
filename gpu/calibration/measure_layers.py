"""Kernels as a model runs them: each one's duration between its neighbours.

A kernel that follows its like is up to a microsecond faster than between others, whose instructions and data it finds
in the caches instead of its own. So a few layers are captured as a graph, whole and with one kind of kernel left out:
the difference is what that kind takes in its place. Times are microseconds of one replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch

from gpu.calibration.clock import BF16, DEV, SHIELD, capture, elapsed, now, quantile, sleep_us
from gpu.engine.streams import Streams
from gpu.kernels.ops import TritonOps
from gpu.model.llama import Calls, Llama
from gpu.model.meta import FUTURE, LENGTH, PAGE, POSITION, SLOT, TABLE, TOKEN
from gpu.model.ops import Call, Prompts
from gpu.model.weights import random_weights
from scenarios.loader import load_model
from scenarios.model import ModelShape

MODELS = {"llama-3.1-8b": 4, "llama-3.2-1b": 6, "qwen2.5-0.5b": 10, "qwen3-0.6b": 10}
"""Models, and how many of their layers (even): more weights than the L2 holds four times."""
ROWS = (2, 3, 6, 12, 20, 28, 36, 44, 52, 60, 76, 92, 108, 124, 140, 156, 172, 188, 204, 220, 236, 252, 268, 316)
CONTEXTS = (96, 192, 384, 768, 1536, 3072, 6144)
BASE = 768
PROMPTS = (24, 96, 192, 384, 512, 640, 768, 896, 1024, 1152, 1280, 1536, 1792, 2048, 2560, 3072, 4096, 6144, 9216)
"""Lengths of single prompts, close together where products go up in steps of whole tiles and waves of them."""
MANY = {
    3: (96, 192, 384, 768, 1536, 3072),
    6: (96, 192, 384, 768, 1536),
    12: (24, 96, 192, 384, 768),
    24: (24, 96, 192, 384),
    48: (24, 96, 192),
}
"""Numbers of prompts that run side by side, and their lengths: no more tokens than the longest single prompt has."""
REPEATS = 5
TRAIN = 3000.0
"""Microseconds of replays that are timed at once."""
DECODE = ("qkv", "rope", "kv_write", "attention", "combine", "o", "norm", "gate_up", "silu", "down", "norm")
PREFILL = ("qkv", "rope", "kv_write", "attention", "o", "norm", "gate_up", "silu", "down", "norm")
"""What a layer launches, in order."""
INPUT_WIDTH = TABLE + max(CONTEXTS) // PAGE
"""Columns of the table of inputs."""
Row = dict[str, Any]


def layers() -> Iterator[tuple[Row, float]]:
    """One row a model and number of rows, as they are measured, and the share of all that is done by then.

    Of each model decode comes first, then prefill of one prompt, then of several.
    """
    done, every = 0, len(MODELS) * (len(ROWS) + len(PROMPTS) + sum(map(len, MANY.values())))
    for name, count in MODELS.items():
        bench = _Bench(load_model(name).model_copy(update={"layers": count}))
        for row in chain(bench.decode(), bench.prefill()):
            done += 1
            yield row, done / every
        torch.cuda.empty_cache()


class _Bench:
    """A few layers of a model over a cache of ``tokens`` tokens."""

    def __init__(self, shape: ModelShape) -> None:
        self._shape = shape
        self._streams = Streams.new()
        free = torch.cuda.mem_get_info()[0]
        self._contexts = [c for c in CONTEXTS if c * max(ROWS) * shape.kv_bytes_per_token < free // 2 or c <= BASE]
        self._pages = max(self._contexts) // PAGE
        self._weights = random_weights(shape, torch.device(DEV), BF16, positions=max(*CONTEXTS, *PROMPTS) + 1)
        self._sampled = torch.zeros(max(ROWS), dtype=torch.int64, device=DEV)
        self._future = torch.zeros(4096, dtype=torch.int64, device=DEV)

    def _model(self, cached: int, rows: int, sampled: int) -> Llama:
        ops = TritonOps(self._streams.forward.cuda_stream)
        return Llama(self._weights, cached, ops, rows=rows, sampled=sampled)

    def decode(self) -> Iterator[Row]:
        """Steps of every number of rows, over every context."""
        most = max(ROWS)
        model = self._model((most * self._pages + 1) * PAGE, most, most)
        table = torch.randperm(most * self._pages, device=DEV).to(torch.int32).view(most, self._pages) + 1
        placed = torch.zeros(most, INPUT_WIDTH, dtype=torch.int32, device=DEV)
        staged = torch.zeros_like(placed)
        placed[:, TABLE : TABLE + self._pages] = table
        placed[:, TOKEN] = torch.randint(0, self._shape.vocab, (most,), device=DEV)
        placed[:, FUTURE] = torch.arange(most, device=DEV)
        staged.copy_(placed)
        for rows in ROWS:
            meta = placed[:rows]
            calls = model.decode(meta)
            parts = self._parts(calls, DECODE)
            sample: Call = partial(torch.argmax, model.logits[:rows], -1, out=self._sampled[:rows])
            more = {
                "argmax": [*calls, ("argmax", sample)],
                "resolve": [("resolve", model.ops.resolve(staged[:rows], self._future, meta)), *calls],
                "store": [*calls, ("store", model.ops.store(self._sampled[:rows], meta[:, FUTURE], self._future))],
            }
            self._at(staged, BASE, table)
            self._at(placed, BASE, table)
            row = self._row("decode", rows, self._times(calls, parts, more))
            whole = self._capture(calls)
            if rows in ROWS[::3]:
                row["stream"] = self._eager({"whole": calls, "half": self._halved(calls, len(DECODE))})
            row["contexts"] = []
            for context in self._contexts:
                self._at(placed, context, table)
                row["contexts"].append([context, medians({"": whole})[""]])
            yield row

    def prefill(self) -> Iterator[Row]:
        """One prompt of every length, and then several, causally attending to themselves.

        Of several prompts nothing but attention is new: the rest of a layer works on tokens, whosever they are.
        """
        longest = max(PROMPTS)
        model = self._model((longest // PAGE + 1) * PAGE, longest, max(MANY))
        for length in PROMPTS:
            calls = self._prompts(model, 1, length)
            yield self._row("prefill", length, self._times(calls, self._parts(calls, PREFILL), {}))
        for count, lengths in MANY.items():
            for length in lengths:
                calls = self._prompts(model, count, length)
                parts = {"attention": self._parts(calls, PREFILL)["attention"]}
                yield self._row("prefill", count * length, {"prompts": count} | self._times(calls, parts, {}))

    @staticmethod
    def _prompts(model: Llama, count: int, length: int) -> Calls:
        """The launches of a step of so many equal prompts."""
        tokens = count * length
        meta = torch.zeros(tokens, TABLE, dtype=torch.int32, device=DEV)
        meta[:, TOKEN] = torch.randint(0, model.weights.shape.vocab, (tokens,), device=DEV)
        meta[:, POSITION] = torch.arange(length, device=DEV).repeat(count)
        meta[:, SLOT] = torch.arange(tokens, device=DEV) + PAGE
        meta[:, LENGTH] = meta[:, POSITION] + 1
        starts = torch.arange(0, tokens + 1, length, dtype=torch.int32, device=DEV)
        return model.prefill(meta, partial(_same, Prompts((length,) * count, starts, starts[1:] - 1)))

    def _row(self, phase: str, rows: int, times: Row) -> Row:
        about = {"phase": phase, "model": self._shape.name, "layers": self._shape.layers, "rows": rows}
        return about | {"base": BASE} | times

    @staticmethod
    def _at(meta: torch.Tensor, context: int, table: torch.Tensor) -> None:
        """Have every row's new token be the last of so many."""
        meta[:, POSITION] = context - 1
        meta[:, LENGTH] = context
        meta[:, SLOT] = table[:, (context - 1) // PAGE] * PAGE + (context - 1) % PAGE

    def _parts(self, calls: Calls, layer: tuple[str, ...]) -> dict[str, Calls]:
        """The calls without those of one kind, by kind; ``layers`` without any layer."""
        count = self._shape.layers * len(layer)
        names = ["embedding", "first_norm", *layer * self._shape.layers, *("head",) * (len(calls) - count - 2)]
        parts = {name: _without(calls, names, {name}) for name in (*dict.fromkeys(layer), "head", "embedding")}
        return parts | {"half": self._halved(calls, len(layer))}

    def _halved(self, calls: Calls, layer: int) -> Calls:
        """The calls without half of the layers, which are so many launches each."""
        left_out = self._shape.layers * layer // 2
        return [call for i, call in enumerate(calls) if not 2 <= i < 2 + left_out]

    def _eager(self, launches: dict[str, Calls]) -> Row:
        """Launches one by one, all of which wait behind a sleep until the last one is there, so no host bounds them."""
        times: dict[str, list[float]] = {name: [] for name in launches}
        with torch.cuda.stream(self._streams.forward):
            for _ in range(REPEATS + 1):
                for name, calls in launches.items():
                    start = now()
                    _launch(calls)
                    host_us = (now() - start) / 1000
                    torch.cuda.synchronize()
                    sleep_us(2 * host_us + SHIELD)
                    times[name].append(elapsed(partial(_launch, calls)))
        return {name: round(quantile(us[1:], 0.5), 3) for name, us in times.items()}

    def _times(self, calls: Calls, parts: dict[str, Calls], more: dict[str, Calls]) -> Row:
        """The whole, without each part, and with each thing more."""
        found = medians({name: self._capture(part) for name, part in {"": calls, **parts, **more}.items()})
        return {
            "whole": found.pop(""),
            "without": {name: found[name] for name in parts},
            "with": {name: found[name] for name in more},
        }

    def _capture(self, calls: Calls) -> torch.cuda.CUDAGraph:
        return capture(partial(_launch, calls), self._streams.forward)


def medians(graphs: dict[str, torch.cuda.CUDAGraph]) -> dict[str, float]:
    """Microseconds a replay of each, in trains of replays that take turns; the gap between two replays is in them."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    count = max(1, int(TRAIN / _train(next(iter(graphs.values())), 3)))
    for repeat in range(-1, REPEATS):
        for name, graph in graphs.items():
            us = _train(graph, count)
            if repeat >= 0:  # the first round warms up
                times[name].append(us)
    return {name: round(quantile(us, 0.5), 3) for name, us in times.items()}


def _train(graph: torch.cuda.CUDAGraph, count: int) -> float:
    graph.replay()
    return elapsed(lambda: [graph.replay() for _ in range(count)]) / count


def _same(prompts: Prompts) -> Prompts:
    return prompts


def _without(calls: Calls, names: Iterable[str], left_out: set[str]) -> Calls:
    return [call for call, name in zip(calls, names, strict=True) if name not in left_out]


def _launch(calls: Calls) -> None:
    for _, call in calls:
        call()
