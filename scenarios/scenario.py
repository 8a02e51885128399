"""A serving scenario: which model serves which requests, on what, and in which modes.

`Serving` is one TOML file. Names of models, presets and profiles are looked up by the loader, which also
applies the engine overrides. Programs, the other kind of scenario, are in `scenarios.program`.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from scenarios.engine import EngineOverrides
from scenarios.errors import Refusal
from scenarios.model import ModelShape, TimerModel
from scenarios.table import Bandwidth, Duration, NonEmpty, Table
from scenarios.workload import Workload

Router = Literal["round-robin", "least-loaded"]
Mode = Literal["naive", "serial-eager", "serial-graph", "overlap-eager", "overlap-graph"]


def no_duplicates(items: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that names something twice."""
    if len(set(items)) < len(items):
        raise Refusal(items, "a list without duplicates")
    return items


class ServingEngine(EngineOverrides):
    """The engine: a preset, the modes to run it in, and changes to it."""

    preset: str = "lean"
    modes: Annotated[NonEmpty[Mode], AfterValidator(no_duplicates)] = (
        "serial-eager",
        "serial-graph",
        "overlap-eager",
        "overlap-graph",
    )


class Host(Table):
    """The host against the one that the costs were measured on.

    `scale` multiplies every host time; without `jitter` each takes its median.
    """

    scale: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    jitter: bool = False


class ServingHost(Host):
    """A host that also does `extra` work in each schedule."""

    extra: Duration = 0


class Kernels(Table):
    """The kernels against the profile's: `scale` multiplies their durations."""

    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0


class Limits(Table):
    """What a client finds good enough: goodput counts the requests that keep all of these.

    `ttft` from arrival to the first token, `tpot` the mean interval between the others, `e2e` from arrival to the
    last, `queue` from arrival until the server takes the request in.
    """

    ttft: Duration | None = None
    tpot: Duration | None = None
    e2e: Duration | None = None
    queue: Duration | None = None

    @property
    def given(self) -> dict[str, int]:
        """Nanoseconds of those that are set."""
        return {name: limit for name, limit in self if limit is not None}


class Replicas(Table):
    """Equal servers, each on a GPU and a host of its own, behind a router that sends each request to one of them.

    `round-robin` takes one after the other, `least-loaded` the one with the fewest unanswered requests. Simulated only,
    and not validated.
    """

    count: Annotated[int, Field(ge=1, le=256)] = 1
    router: Router = "round-robin"


class TensorParallel(Table):
    """One server's model spread over `ranks` GPUs, with a host process each. Simulated only, and not validated.

    A collective takes `latency` and its traffic at `bandwidth`, from when the slowest rank arrives. The defaults: a
    small all-reduce of two H100 in a graph (NCCL 2.20, github.com/NVIDIA/nccl/issues/1259), and what NVLink 4 gives one
    direction of a transfer (NCCL's maintainer, github.com/NVIDIA/nccl/issues/1442).
    """

    ranks: Annotated[int, Field(ge=1, le=64)] = 1
    latency: Duration = 6_000
    bandwidth: Bandwidth = 370 * 10**9


class Hardware(Table):
    """The machine: a shipped profile's name, or a path to a profile's file."""

    profile: str = "nvidia-h200"


def _model_form(value: object) -> str | None:
    if isinstance(value, str):
        return "<name>"
    if isinstance(value, TimerModel) or (isinstance(value, dict) and "kind" in value):
        return "<timer>"
    return "<shape>" if isinstance(value, dict | ModelShape) else None


ModelChoice = Annotated[
    Annotated[str, Tag("<name>")] | Annotated[ModelShape, Tag("<shape>")] | Annotated[TimerModel, Tag("<timer>")],
    Discriminator(_model_form),
    Field(description="a model's name, its shape as a table, or a table with kind = 'timer'"),
]


class Serving(Table):
    """A scenario of an inference server."""

    kind: Literal["serving"]
    title: str
    model: ModelChoice
    workload: Workload
    engine: ServingEngine = ServingEngine()
    host: ServingHost = ServingHost()
    kernels: Kernels = Kernels()
    hardware: Hardware = Hardware()
    limits: Limits = Limits()
    replicas: Replicas = Replicas()
    tensor_parallel: TensorParallel = TensorParallel()

    @model_validator(mode="after")
    def _requests_to_share_out(self) -> "Serving":
        if self.replicas.count > 1 and self.workload.batch is not None:
            raise Refusal(self.replicas.count, "1 beside workload.batch, which nobody routes", at=("replicas", "count"))
        return self
