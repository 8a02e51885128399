"""A machine, measured: what its driver, copy engines and kernels cost, and how each number was obtained.

Durations are integer nanoseconds, sizes bytes, rates a second. Every value names its source and may name
its residual, so that a prediction can say how good its inputs are. Costs of a scheduler or of a framework
are not here: they belong to the engine preset.
"""

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, Strict, model_validator

from scenarios.errors import MISSING, Refusal, Refusals
from scenarios.table import Bandwidth, Bytes, Count, Duration, FlopRate, NonEmpty, Rows, Share, Table

KERNEL_KINDS = (
    "gemm",
    "attention_decode",
    "attention_combine",
    "attention_prefill",
    "norm",
    "elementwise",
    "rope",
    "kv_write",
    "embedding",
    "sample",
    "gather",
    "copy",
)
"""Kinds of kernel that every profile prices; a profile may price more."""


class Provenance(Table):
    """Where, when and with what the numbers of a profile were measured."""

    gpu: str
    driver: str
    cuda: str
    torch: str
    python: str
    cpu: str
    date: str
    command: str
    notes: Rows[str] = ()


class Device(Table):
    """The accelerator's size."""

    multiprocessors: Count
    memory: Annotated[Bytes, Field(gt=0)]


class DurationConstant(Table):
    """A measured duration."""

    value: Duration
    source: str
    residual: str = ""


class CountConstant(Table):
    """A measured number of things."""

    value: Count
    source: str
    residual: str = ""


class Constants(Table):
    """Costs of the driver's calls and of the device's own bookkeeping.

    `*_call` is host time inside one call, `*_latency` the time from a call's return until an idle device starts,
    `*_gap` what separates two kernels of a backlogged device, `wake_*` what a host pays that began to wait before the
    event fired. `*_per_1000_nodes` is added in proportion to a graph's nodes. `step_gap` is `stream_gap` among the
    kernels of a model's step, left out where it was not measured. What each of them does to a timeline is said where
    the machine applies it.
    """

    launch_call: DurationConstant
    launch_latency: DurationConstant
    stream_gap: DurationConstant
    step_gap: DurationConstant | None = None
    graph_gap: DurationConstant
    graph_join_gap: DurationConstant
    replay_gap: DurationConstant
    stream_switch: DurationConstant
    dispatch_interval: DurationConstant
    timed_event: DurationConstant
    event_record_call: DurationConstant
    event_wait_call: DurationConstant
    event_query_call: DurationConstant
    copy_call: DurationConstant
    copy_latency: DurationConstant
    event_sync_call: DurationConstant
    device_sync_call: DurationConstant
    wake_spin: DurationConstant
    wake_device: DurationConstant
    wake_blocking: DurationConstant
    graph_launch_call: DurationConstant
    graph_launch_call_per_1000_nodes: DurationConstant
    graph_launch_latency: DurationConstant
    graph_launch_latency_per_1000_nodes: DurationConstant
    first_replay: DurationConstant
    first_replay_per_1000_nodes: DurationConstant
    gil_switch_interval: DurationConstant
    gil_handoff: DurationConstant
    other_thread_call: DurationConstant
    queue_depth: CountConstant


class ProfiledConstants(Table):
    """What some of the constants become for good in a process in which a profiler has run once."""

    launch_call: DurationConstant
    graph_launch_call: DurationConstant
    graph_launch_call_per_1000_nodes: DurationConstant


def _quantiles(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    for column in zip(*points, strict=True):
        if any(before > after for before, after in pairwise(column)):
            raise Refusal(points, "pairs in which neither probability nor factor ever falls")
    if points[0][0] != 0 or points[-1][0] != 1:
        raise Refusal(points, "pairs that start at probability 0 and end at probability 1")
    return points


Quantile = Annotated[
    tuple[Share, Annotated[float, Field(ge=0)]],
    Strict(strict=False),
    Field(description="a pair of a probability and a factor of at least 0"),
]


class Jitter(Table):
    """How host times scatter: quantiles of the ratio of a host time to its median."""

    quantiles: Annotated[NonEmpty[Quantile], AfterValidator(_quantiles)]
    source: str


def _ascending(points: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    if any(before[0] >= after[0] for before, after in pairwise(points)):
        raise Refusal(points, "points whose first number rises from each to the next")
    return points


BytesPoint = Annotated[
    tuple[Bytes, Duration], Strict(strict=False), Field(description="a pair of bytes and a duration")
]
RowsPoint = Annotated[tuple[Count, Duration], Strict(strict=False), Field(description="a pair of rows and a duration")]


class CopyCost(Table):
    """Measured durations of copies by their size, in ascending order of size."""

    points: Annotated[NonEmpty[BytesPoint], AfterValidator(_ascending)]
    source: str


class Copies(Table):
    """Copies between host (h) and device (d) memory. The `pageable` ones stage through a driver's buffer."""

    h2d: CopyCost
    d2h: CopyCost
    d2d: CopyCost
    pageable_h2d: CopyCost
    pageable_d2h: CopyCost


class KernelTable(Table):
    """Measured durations of one kernel of one shape by its rows: [n, k] of a gemm, [width] of most others.

    Decode attention is measured over two sizes: its shape is [heads, kv_heads, head_dim, batch], and the place of
    the rows is taken by the context of each row.
    """

    shape: Rows[Count]
    points: Annotated[NonEmpty[RowsPoint], AfterValidator(_ascending)]


class KernelCost(Table):
    """What a kind of kernel takes: a floor, and on top the larger of its arithmetic and its memory traffic.

    A measured table of the same shape goes before this roofline: durations in between are interpolated. `sm` is the
    share of the multiprocessors that one such kernel occupies.
    """

    floor: Duration
    flops: FlopRate | None = None
    bandwidth: Bandwidth | None = None
    sm: Annotated[float, Field(gt=0, le=1)] = 1.0
    source: str
    residual: str = ""
    table: Rows[KernelTable] = ()


TileSides = Annotated[tuple[Count, Count], Strict(strict=False), Field(description="a pair of the sides of a tile")]


class ProgramKernels(Table):
    """Products (bf16) and additions (float32) of programs, back to back with their like on a device that had a rest.

    A product takes `floor` and a thousandth of `per_1000_first_steps` for each of the first steps of its inner
    dimension; then for each wave of its `tiles` and each step a thousandth of `per_1000_steps` and a tile's arithmetic
    at `flops`, the rate of one multiprocessor; or longer, if its bytes move at the bandwidth of the `cache` or, after
    `miss`, of the `memory`. Of what was used before all is found in the cache up to `found_up_to` bytes back, nothing
    from `lost_from` on.
    """

    floor: Duration
    per_1000_first_steps: Duration
    per_1000_steps: Duration
    flops: FlopRate
    tiles: NonEmpty[TileSides]
    add_floor: Duration
    cache: Bandwidth
    memory: Bandwidth
    miss: Duration
    found_up_to: Bytes
    lost_from: Bytes
    source: str
    residual: str = ""

    @model_validator(mode="after")
    def _forgets(self) -> "ProgramKernels":
        if self.found_up_to >= self.lost_from:
            raise Refusal(self.lost_from, f"more than found_up_to, {self.found_up_to} bytes", at=("lost_from",))
        return self


def _all_kinds(kernels: dict[str, KernelCost]) -> dict[str, KernelCost]:
    if missing := [kind for kind in KERNEL_KINDS if kind not in kernels]:
        raise Refusals([Refusal(MISSING, "a table with floor and source", at=(kind,)) for kind in missing])
    return kernels


class Profile(Table):
    """A calibrated machine. Without `programs` the products of programs are priced as those of a model's layers."""

    name: str
    provenance: Provenance
    device: Device
    constants: Constants
    profiled: ProfiledConstants | None = None
    jitter: Jitter
    copies: Copies
    kernels: Annotated[dict[str, KernelCost], AfterValidator(_all_kinds)]
    programs: ProgramKernels | None = None
