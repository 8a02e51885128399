"""What a decode step takes by its rows and its bucket, added up rather than simulated."""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.effects import OVERLAP_PARTS, SERIAL_PARTS, Phase
from sim.program.calls import HostCosts
from sim.program.frame import Pieces
from sim.program.lowering import FORWARD
from sim.program.ops import Copy, Kernel, Op, Replay, num_kernels
from sim.serving.batch import Batch
from sim.serving.batch import Phase as BatchPhase
from sim.studies.serving import ServingRun

GRAIN = 4


@dataclass(frozen=True, slots=True)
class StepParts:
    """Nanoseconds of one step: the server's own ``work``, its ``launches``, and the forward stream's ``device`` work.

    ``device`` includes the gaps between kernels that no host is to blame for.
    """

    work: int
    launches: int
    device: int

    @property
    def host(self) -> int:
        """All that the host does."""
        return self.work + self.launches


@dataclass
class StepPrices:
    """Decode steps of a run's model whose rows attend to ``context`` tokens each, in one mode's loop.

    Under overlap a step is as long as its device work or its host's, whichever is longer; a serial one is the host's
    own work and then the launches or the device's work. Left out: latencies and wake-ups.
    """

    run: ServingRun
    mode: str
    context: float
    _known: dict[tuple[int, int | None], int] = field(default_factory=dict)
    _costs: HostCosts = field(init=False)

    def __post_init__(self) -> None:
        self._costs = self.run.costs()

    def replayed(self, rows: int, bucket: int) -> int:
        """A step of ``rows`` padded to ``bucket`` in a graph; on a straight line between every fourth.

        In one graph only what attention reads goes with the rows, and its price is all but straight between these.
        """
        low, high = max(1, rows // GRAIN * GRAIN), min(bucket, (rows // GRAIN + 1) * GRAIN)
        least = self._step(low, bucket)
        if rows == low:
            return least
        return least + (self._step(high, bucket) - least) * (rows - low) // (high - low)

    def eager(self, rows: int) -> int:
        """A step launched kernel by kernel."""
        return self._step(rows, None)

    def nodes(self) -> int:
        """Kernels of a graph."""
        return max(num_kernels([op]) for _, ops in self._pieces(1, 1) for op in ops if isinstance(op, Replay))

    def parts(self, rows: int, bucket: int | None) -> StepParts:
        """What a step is made of; without a bucket it is launched kernel by kernel."""
        costs, pieces = self._costs, self._pieces(rows, bucket)
        work = sum(costs.work_ns(name, rows, rows) for name in ("schedule", "prepare", "process"))
        return StepParts(
            work=work + costs.work_ns("receive", 0, 0),  # whose rows are requests that have come
            launches=sum(costs.call(op).ns for _, ops in pieces for op in ops),
            device=sum(self._on_device(op) for stream, ops in pieces if stream == FORWARD for op in ops),
        )

    def _step(self, rows: int, bucket: int | None) -> int:
        key = rows, bucket
        if key not in self._known:
            found = self.parts(rows, bucket)
            if self.mode.startswith("overlap"):
                self._known[key] = max(found.host, found.device)
            else:
                self._known[key] = found.work + max(found.launches, found.device)
        return self._known[key]

    def _on_device(self, op: Op) -> int:
        constants = self.run.constants
        if isinstance(op, Replay):
            kernels = op.graph.kernels
            return sum(k.ns for k in kernels) + (len(kernels) - 1) * constants.graph_gap + constants.stream_gap
        return op.ns + constants.stream_gap if isinstance(op, Kernel | Copy) else 0

    def _pieces(self, rows: int, bucket: int | None) -> Pieces:
        context = round(rows * self.context)
        batch = Batch(0, BatchPhase.DECODE, rows, rows, context, members=(), bucket=bucket)
        return self.run.lowering()(Phase(batch, OVERLAP_PARTS if self.mode.startswith("overlap") else SERIAL_PARTS))
