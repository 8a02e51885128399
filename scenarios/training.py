"""A training scenario: steps of forward, loss, backward and optimizer, and what each takes on a machine.

The model is a stack of residual feed-forward blocks (normalization, a product up to four times the width, GELU, a
product down, addition) in bf16. `TrainingCosts` is one file of `training/`: what its kernels and host calls were
measured to take, by width and rows.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from scenarios.errors import Refusal
from scenarios.program import WithoutServer
from scenarios.scenario import no_duplicates
from scenarios.table import Count, Duration, NonEmpty, Table

TrainingMode = Literal["eager", "graph-gradients", "graph-step"]
Optimizer = Literal["adamw", "sgd"]


class Training(WithoutServer):
    """A scenario of a training loop that never waits between its `steps`.

    Each step adds up the gradients of `accumulate` micro-batches of `rows` rows. Mode `graph-gradients` captures
    forward, loss and backward of all micro-batches and leaves the optimizer eager, as for one that cannot be captured;
    `graph-step` captures the optimizer, too. `adamw` is the fused one, `sgd` torch's default.
    """

    kind: Literal["training"]
    modes: Annotated[NonEmpty[TrainingMode], AfterValidator(no_duplicates)] = ("eager", "graph-gradients", "graph-step")
    hidden: Count
    layers: Count
    rows: Count
    accumulate: Count = 1
    optimizer: Optimizer = "adamw"
    steps: Count = 20
    costs: str = "nvidia-h100"


SizePoint = Annotated[
    tuple[Count, Count, Duration],
    Strict(strict=False),
    Field(description="a width, a number of rows, and a duration"),
]
ChunksPoint = Annotated[
    tuple[Count, Duration], Strict(strict=False), Field(description="a number of chunks and a duration")
]


class TrainingKernel(Table):
    """One kernel of a phase, and what it takes by width and rows: measured on a full grid of both."""

    name: str
    points: NonEmpty[SizePoint]

    @model_validator(mode="after")
    def _full_grid(self) -> "TrainingKernel":
        widths, rows = ({p[i] for p in self.points} for i in (0, 1))
        if len({p[:2] for p in self.points}) != len(widths) * len(rows) or len(self.points) != len(widths) * len(rows):
            raise Refusal(f"{len(self.points)} points", "one for each width and each number of rows", at=("points",))
        return self


class TrainingHost(Table):
    """Host time of a phase: `base`, and so much for each block."""

    base: Duration
    per_layer: Duration = 0


class OptimizerCost(Table):
    """An optimizer whose kernels work on chunks of several tensors, as torch's multi-tensor kernels do.

    Tensors are cut into chunks of 65536 elements and dealt out in order: a kernel ends when it has 320 chunks, or when
    the last chunk of its last tensor, of at most `tensors`, has been dealt. `points` is what a kernel takes by its
    chunks, fewer than the first point take as long. `before` is the time of a kernel that counts the steps.
    """

    tensors: Count
    before: Duration = 0
    points: NonEmpty[ChunksPoint]


class TrainingCosts(Table):
    """What a training step takes on a machine.

    `forward` and `backward` list the kernels of a block in order, `first` those of the backward pass of the first
    block, whose input needs no gradient, `loss` those between forward and backward, `accumulate` those that later
    micro-batches add for a block. `graph_gap` separates two kernels of a captured step. `host` is what each phase takes
    a host that the device never holds up, `reference` what launches of the serving engine took the same host meanwhile,
    by kind.
    """

    name: str
    source: str
    graph_gap: Duration
    forward: NonEmpty[TrainingKernel]
    loss: NonEmpty[TrainingKernel]
    backward: NonEmpty[TrainingKernel]
    first: NonEmpty[TrainingKernel]
    accumulate: NonEmpty[TrainingKernel]
    optimizer: dict[Optimizer, OptimizerCost]
    host: dict[str, TrainingHost]
    reference: dict[str, Duration] = Field(default_factory=dict)
