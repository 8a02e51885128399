"""A training step as operations: its kernels by phase, each as long as it was measured to take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp, log
from statistics import median

from scenarios.errors import Problem, ScenarioError
from scenarios.training import Training, TrainingCosts, TrainingKernel
from sim.effects import DEVICE, Launch, Loop, Wait
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Graph, Kernel, Op, Replay, Think

MAIN = "main"
CHUNK, CHUNKS = 65536, 320
"""Elements of a chunk of a multi-tensor kernel, and the most chunks of one kernel."""


class TrainingLowering:
    """Lowers the steps of a scenario. Kernels of a phase are launched by calls of the phase's name.

    Durations are interpolated on straight lines between logarithms, of width and rows both. Raises ``ScenarioError``
    for sizes outside of what was measured. Left out: what kernels gain or lose by what ran before them, and memory.
    """

    def __init__(self, training: Training, costs: TrainingCosts, source: str) -> None:
        self._training = training
        self._costs = costs
        self._source = source
        self._check()
        self._block = {
            phase: [self._kernel(phase, kernel) for kernel in getattr(costs, phase)]
            for phase in ("forward", "loss", "backward", "first", "accumulate")
        }

    def gradients(self) -> list[Kernel]:
        """Forward, loss and backward of all micro-batches."""
        layers, kernels = self._training.layers, []
        for number in range(self._training.accumulate):
            later = self._block["accumulate"] if number else []
            kernels += self._block["forward"] * layers + self._block["loss"]
            kernels += (self._block["backward"] + later) * (layers - 1) + self._block["first"] + later
        return kernels

    def update(self) -> list[Kernel]:
        """The optimizer's kernels."""
        cost = self._costs.optimizer[self._training.optimizer]
        sizes, values = zip(*cost.points, strict=True)
        dealt = chunks(tensors(self._training.hidden, self._training.layers), cost.tensors)
        times = [cost.before] if cost.before else []
        times += [round(_on_line(sizes, values, max(sizes[0], number))) for number in dealt]
        scale = self._training.kernels.scale
        return [Kernel("optimizer", "optimizer", max(1, round(ns * scale))) for ns in times]

    def loop(self, mode: str) -> Loop[None]:
        """The training loop on one host thread; it waits once, in the end."""
        ops = list(self._step(mode))
        for _ in range(self._training.steps):
            yield Launch(ops, MAIN)
        yield Wait(DEVICE)

    def _step(self, mode: str) -> Iterator[Op]:
        gradients, update = self.gradients(), self.update()
        if mode == "graph-step":
            yield Replay("step", Graph((*gradients, *update)))
            return
        if mode == "graph-gradients":
            yield Replay("gradients", Graph(tuple(gradients)))
        else:
            yield Think(self._host_ns("zero"), "zero_grad")
            yield from gradients
        yield from update

    def costs_on(self, constants: Constants, numbers: Mapping[str, int] | None = None) -> HostCosts:
        """The constants with a captured step's gaps, and what launching takes: a phase's time, shared by its launches.

        ``numbers`` are launches of the serving engine as they take the host at another time (ns, by kind): it is slower
        in everything by what it is slower in these, in the median.
        """
        layers, block = self._training.layers, self._block
        launches = {
            "forward": len(block["forward"]) * layers,
            "loss": len(block["loss"]),
            "backward": len(block["backward"]) * (layers - 1) + len(block["first"]),
            "accumulate": len(block["accumulate"]) * layers,
            "optimizer": len(self.update()),
        }
        each = {phase: self._host_ns(phase) // number for phase, number in launches.items()}
        call = min(constants.launch_call, *each.values())
        framework = {phase: ns - call for phase, ns in each.items()}
        known = self._costs.reference
        ratios = [numbers[kind] / ns for kind, ns in known.items() if kind in numbers] if numbers else []
        scale = self._training.host.scale * (median(ratios) if ratios else 1.0)
        known_gap = replace(constants, launch_call=call, graph_gap=self._costs.graph_gap)
        return HostCosts(known_gap, framework, scale=scale)

    def _host_ns(self, phase: str) -> int:
        cost = self._costs.host[self._training.optimizer if phase == "optimizer" else phase]
        return cost.base + cost.per_layer * self._training.layers

    def _kernel(self, phase: str, kernel: TrainingKernel) -> Kernel:
        ns = duration(kernel, self._training.hidden, self._training.rows) * self._training.kernels.scale
        return Kernel(kernel.name, "backward" if phase == "first" else phase, max(1, round(ns)))

    def _check(self) -> None:
        points = self._costs.forward[0].points
        problems = []
        for key, position in (("hidden", 0), ("rows", 1)):
            sizes = [point[position] for point in points]
            found = getattr(self._training, key)
            if not min(sizes) <= found <= max(sizes):
                measured = f"{min(sizes)} to {max(sizes)}, between which {self._costs.name} was measured"
                message = f"found {found}, expected {measured}"
                problems.append(Problem(self._source, key, message))
        if self._training.optimizer not in self._costs.optimizer:
            message = f"found {self._training.optimizer!r}, which {self._costs.name} was not measured with"
            problems.append(Problem(self._source, "optimizer", message))
        if problems:
            raise ScenarioError(problems)


def tensors(hidden: int, layers: int) -> list[int]:
    """Elements of each parameter of the model: a block's normalization, its product up, its product down."""
    return [hidden, hidden, 4 * hidden * hidden, 4 * hidden * hidden] * layers


def chunks(sizes: Sequence[int], most_tensors: int) -> list[int]:
    """Chunks of each kernel that works on tensors of these sizes, dealt as torch's ``multi_tensor_apply`` does.

    From ATen/native/cuda/MultiTensorApply.cuh: a tensor that is cut by a full kernel goes on in the next one.
    """
    kernels, dealt, held = [], 0, 0
    for size in sizes:
        held += 1
        number = -(-size // CHUNK)
        for chunk in range(1, number + 1):
            dealt += 1
            last = chunk == number
            if dealt == CHUNKS or (held == most_tensors and last):
                kernels.append(dealt)
                dealt, held = 0, 0 if last else 1
    return [*kernels, dealt] if dealt else kernels


def duration(kernel: TrainingKernel, hidden: int, rows: int) -> float:
    """What a kernel takes (ns) at a width and a number of rows within its grid."""
    widths = sorted({point[0] for point in kernel.points})
    heights = sorted({point[1] for point in kernel.points})
    known = {point[:2]: point[2] for point in kernel.points}
    columns = [_on_line(heights, [known[width, height] for height in heights], rows) for width in widths]
    return _on_line(widths, columns, hidden)


def _on_line(sizes: Sequence[int], values: Sequence[float], size: int) -> float:
    """A value between those of the two nearest sizes, on a straight line between logarithms."""
    if len(sizes) == 1:
        return values[0]
    upper = next((i for i, known in enumerate(sizes) if i and size <= known), len(sizes) - 1)
    (a, b), (x, y) = sizes[upper - 1 : upper + 1], values[upper - 1 : upper + 1]
    if size in (a, b):
        return x if size == a else y
    share = log(size / a) / log(b / a)
    return exp(log(x) + share * log(y / x))
