"""From a loaded scenario to a wall-clock machine that runs it for real."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gpu.engine.graphs import DecodeGraphs
from gpu.engine.inputs import Inputs
from gpu.engine.torch_device import TorchDevice
from gpu.machines.wall import WallMachine
from gpu.model.llama import Llama
from gpu.model.meta import PAGE
from gpu.model.ops import TorchOps
from gpu.model.weights import Weights, random_weights
from scenarios.model import ModelShape
from sim.serving.server import Server
from sim.studies.serving import LOOPS, ServingRun
from sim.studies.workload import build_source
from sim.timeline.spans import Timeline


@dataclass
class TorchRun:
    """A serving scenario on torch, one mode at a time; the weights are made once.

    ``inputs`` (with the sampled tokens) and ``graphs`` are those of the latest mode. ``longest`` bounds the tokens
    of one request, ``pages`` is how many cache pages all requests need together.
    """

    serving: ServingRun
    weights: Weights
    longest: int
    pages: int
    inputs: Inputs | None = None
    inputs_class: type[Inputs] = Inputs
    graphs: DecodeGraphs | None = None

    @classmethod
    def of(cls, run: ServingRun, device: str, *, dtype: torch.dtype | None = None) -> TorchRun:
        """Make the weights; bf16 on a GPU and float32 on a CPU unless a dtype is given."""
        assert isinstance(run.model, ModelShape)
        requests = build_source(run.scenario.workload, seed=run.seed).take(1 << 62)
        longest = max(r.context + r.max_tokens + 1 for r in requests)
        blocks = sum(-(-(r.context + r.max_tokens + 1) // PAGE) for r in requests)
        on = torch.device(device)
        dtype = dtype or (torch.bfloat16 if on.type == "cuda" else torch.float32)
        return cls(run, random_weights(run.model, on, dtype, positions=longest, seed=run.seed), longest, blocks)

    def sampled(self) -> dict[int, list[int]] | None:
        """Each request's tokens in the latest run, late ones included."""
        return None if self.inputs is None else self.inputs.sampled

    def streams(self) -> dict[str, torch.cuda.Stream]:
        """The streams of the latest run by what runs on them; a CPU has none."""
        return self.device.streams()

    def close(self) -> None:
        """Give back the device's memory: the weights are all that a run leaves behind."""
        del self.weights

    def run(self, mode: str) -> Timeline:
        """Run one mode in wall-clock time."""
        run = self.serving
        server = run.server(mode, blocks=self.pages)
        self.device = self._device(mode, server)
        machine = WallMachine(
            self.device, lambda name, _rows, _tokens: run.scenario.host.extra if name == "schedule" else 0
        )
        source = build_source(run.scenario.workload, seed=run.seed, foreseen_stops=not run.engine.late_stop_token)
        return machine.run({"scheduler": LOOPS[mode](server)}, source)

    def _device(self, mode: str, server: Server) -> TorchDevice:
        run, shape = self.serving, self.weights.shape
        cuda = self.weights.embedding.is_cuda
        scheduler = server.scheduler
        self.inputs = inputs = self.inputs_class(scheduler.kv, max(run.buckets), -(-self.longest // PAGE), shape.vocab)
        rows = max(*run.buckets, scheduler.max_rows, scheduler.prefill_tokens)
        model = Llama(self.weights, (self.pages + 1) * PAGE, self._ops(), seed=run.seed)
        graphs = None
        if cuda and mode.endswith("graph"):
            meta = torch.zeros(rows, inputs.width, device="cuda", dtype=torch.int32)
            largest = max(b for b in run.buckets if b <= scheduler.max_rows)
            graphs = DecodeGraphs(model, meta, [b for b in run.buckets if b <= largest])
        self.graphs = graphs
        slots = server.slots.capacity if server.slots is not None else 1
        return TorchDevice(model, inputs, rows=rows, slots=slots, graphs=graphs)

    def _ops(self) -> TorchOps:
        if not self.weights.embedding.is_cuda:
            return TorchOps()
        from gpu.kernels.ops import TritonOps  # noqa: PLC0415  Triton is there only with a GPU

        return TritonOps()
