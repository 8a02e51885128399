"""From a loaded scenario to a wall-clock machine that runs it for real."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

import torch

from gpu.engine.forwards import Forwards
from gpu.engine.graphs import Captured, DecodeGraphs
from gpu.engine.inputs import Inputs, Prompts
from gpu.engine.needs import most_rows, needs, reached
from gpu.engine.streams import Streams
from gpu.engine.torch_device import TorchDevice, Wrap, numbers_for
from gpu.machines.inline import Inline
from gpu.machines.wall import Device, WallMachine, busy
from gpu.memory import memory_errors, require
from gpu.model.llama import Llama
from gpu.model.meta import PAGE
from gpu.model.ops import Call, Ops, TorchOps
from gpu.model.weights import Weights, random_weights
from scenarios.errors import Problem, ScenarioError
from scenarios.model import ModelShape
from sim.serving.server import Server
from sim.studies.serving import ServingRun
from sim.timeline.spans import Timeline

FOR_REAL = ("run-ahead", "graphs-or-overlap", "late-sampling", "forward-thread")
"""Loops that run on torch: not rounds of steps, whose inputs the host brings, and no second thread for results."""


def _check_loops(run: ServingRun) -> None:
    """Refuse what this engine cannot do on torch."""
    overlap = run.engine.overlap
    known = overlap.loop in FOR_REAL and overlap.input_stream == "schedule"
    if any(mode.startswith("overlap") for mode in run.scenario.engine.modes) and not known:
        found = f"{run.engine.name} overlaps by {overlap.loop}, its inputs on the {overlap.input_stream} stream"
        message = f"{found}; for real there is {', '.join(FOR_REAL)}, inputs on the schedule stream"
        raise ScenarioError([Problem(run.source, "engine.overlap", message)])
    if run.engine.piecewise is not None and any(mode.endswith("graph") for mode in run.scenario.engine.modes):
        message = f"{run.engine.name} captures prompts in pieces, which is simulated only"
        raise ScenarioError([Problem(run.source, "engine.piecewise", message)])
    if run.engine.host.mask is not None:
        raise ScenarioError([Problem(run.source, "engine.host.mask", "masks are simulated only")])


@dataclass
class TorchRun:
    """A serving scenario on torch, one mode at a time; weights, cache and activations are made once.

    ``longest`` bounds the tokens of one request, ``pages`` is how many pages the cache has: as many as the engine is
    told, else what all requests need together.
    ``inputs`` (with the sampled tokens), ``device`` and ``graphs`` are those of the latest mode. ``wrap`` may replace
    each launch by another that does the same, by kind. ``capture`` False runs a graph mode's batches eagerly, padded to
    their buckets.
    """

    serving: ServingRun
    weights: Weights
    longest: int
    pages: int
    wrap: Wrap = lambda _, call: call
    capture: bool = True
    inputs: Inputs | None = None
    graphs: DecodeGraphs | None = None
    _forwards: Forwards | None = None
    _streams: Streams | None = None
    _captured: dict[tuple[int, ...], DecodeGraphs] = field(default_factory=dict)
    _prompts: Prompts | None = None

    @classmethod
    def of(cls, run: ServingRun, device: str, *, dtype: torch.dtype | None = None) -> TorchRun:
        """Make the weights; bf16 on a GPU and float32 on a CPU unless a dtype is given."""
        assert isinstance(run.model, ModelShape)
        _check_loops(run)
        requests = run.requests().everything()
        longest = max(r.context + r.max_tokens + 1 for r in requests)
        needed = [-(-(r.context + r.max_tokens + 1) // PAGE) for r in requests]
        blocks = run.engine.kv_blocks or sum(needed)
        if blocks < max(needed):
            message = f"found {blocks}, expected at least {max(needed)}, the pages of the longest request"
            raise ScenarioError([Problem(run.source, "engine.kv_blocks", message)])
        on = torch.device(device)
        dtype = dtype or (torch.bfloat16 if on.type == "cuda" else torch.float32)
        require(run.source, "model", needs(run, longest, blocks, dtype.itemsize, on_gpu=on.type == "cuda"), on.type)
        with memory_errors(run.source):
            return cls(run, random_weights(run.model, on, dtype, positions=longest, seed=run.seed), longest, blocks)

    def sampled(self) -> dict[int, list[int]] | None:
        """Each request's tokens in the latest run, late ones included."""
        return None if self.inputs is None else self.inputs.sampled

    def captured(self) -> dict[int, Captured]:
        """The graphs of the modes that have been run, by bucket."""
        return {rows: one for graphs in self._captured.values() for rows, one in graphs.captured.items()}

    def streams(self) -> dict[str, torch.cuda.Stream]:
        """The streams by what runs on them; a CPU has none."""
        return {} if self._streams is None else vars(self._streams)

    def close(self) -> None:
        """Give back the device's memory."""
        self.inputs = self.graphs = self._forwards = self._streams = None
        self._captured.clear()
        del self.weights
        gc.collect()  # the launches of prefill steps hold the passes that hold them

    def margins(self, mode: str) -> tuple[Timeline, dict[int, list[tuple[float, float]]]]:
        """Run one mode and keep the two largest logits behind every token, by request; slower than ``run``."""
        kept: list[torch.Tensor] = []

        def wrap(kind: str, call: Call) -> Call:
            if kind != "argmax":
                return call

            def and_keep() -> None:
                call()
                assert self._forwards is not None
                kept.append(self._forwards.model.logits.float().topk(2, -1).values)

            return and_keep

        usual, self.wrap = self.wrap, wrap
        try:
            timeline = self.run(mode)
        finally:
            self.wrap = usual
        assert self.inputs is not None
        found: dict[int, list[tuple[float, float]]] = {}
        for largest, members in zip(kept, self.inputs.steps, strict=True):
            for request, (first, second) in zip(members, largest.tolist(), strict=False):
                if request is not None:
                    found.setdefault(request.id, []).append((first, second))
        return timeline, found

    def run(self, mode: str) -> Timeline:
        """Run one mode in wall-clock time."""
        run = self.serving
        server = run.server(mode, blocks=self.pages)
        with memory_errors(run.source):
            device: Device = self._device(mode, server)
            machine = WallMachine(
                device if self.weights.embedding.is_cuda else Inline(device),
                lambda name, *_: run.scenario.host.extra if name == "schedule" else 0,
                busy,
            )
            return machine.run(run.threads(mode, server), run.requests())

    def _device(self, mode: str, server: Server) -> TorchDevice:
        run, scheduler = self.serving, server.scheduler
        slots = server.slots.capacity if server.slots is not None else 0
        buckets = reached(run.buckets, scheduler.max_rows)
        sampled = max(*buckets, scheduler.max_rows)
        rows = most_rows(run, sampled, self.longest)
        vocab = self.weights.shape.vocab
        self._prompts = self._prompts or Prompts(vocab)
        self.inputs = inputs = Inputs(
            scheduler.kv, sampled, -(-self.longest // PAGE), vocab, scratch_slot=slots, prompts=self._prompts
        )
        if self._forwards is None:
            on = self.weights.embedding.device
            self._streams = Streams.new() if on.type == "cuda" else None
            model = Llama(self.weights, (self.pages + 1) * PAGE, self._ops(), rows=rows, sampled=sampled, seed=run.seed)
            placed = torch.zeros(
                numbers_for(
                    inputs, rows, sampled, self.longest if run.engine.chunked_prefill or run.engine.prefix_cache else 0
                ),
                dtype=torch.int32,
                device=on,
            )
            self._forwards = Forwards(model, placed, inputs.width)
        self.graphs = None
        if mode.endswith("graph") and self.capture and self._streams is not None:
            if buckets not in self._captured:
                self._captured[buckets] = DecodeGraphs(self._forwards, inputs.width, buckets, self._streams)
            self.graphs = self._captured[buckets]
        return TorchDevice(
            self._forwards, inputs, sampled=sampled, slots=slots + 1, streams=self._streams,
            graphs=self.graphs, wrap=self.wrap,
        )  # fmt: skip

    def _ops(self) -> Ops:
        if self._streams is None:
            return TorchOps()
        from gpu.kernels.ops import TritonOps  # noqa: PLC0415  Triton is there only with a GPU

        return TritonOps(self._streams.forward.cuda_stream)
