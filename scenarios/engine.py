"""An engine preset: how one inference engine arranges its step, and what its Python costs.

Engines differ in these knobs, not in code paths. Host costs are medians in integer nanoseconds on the
machine named in their source; a scenario scales or replaces them.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scenarios.errors import Refusal
from scenarios.overlap import Overlap, OverlapOverride
from scenarios.table import Bytes, Count, Duration, NonEmpty, Share, Table

Grain = Literal["engine", "pytorch"]
FutureMap = Literal["ring", "request-slot"]
CopyStream = Literal["forward", "separate"]
Missing = Literal["overlap", "graphs", "masks"]
Batching = Literal["prefill-first", "decode-first", "mixed"]
Ordering = Literal["fcfs", "longest-prefix", "shortest-first"]


def _strictly_increasing(buckets: tuple[int, ...]) -> tuple[int, ...]:
    if any(before >= after for before, after in pairwise(buckets)):
        raise Refusal(buckets, "a strictly increasing list")
    return buckets


Buckets = Annotated[NonEmpty[Count], AfterValidator(_strictly_increasing)]
"""Batch sizes for which a graph is captured."""

PolicyName = Annotated[str, Field(pattern=r"^\w+(\.\w+)*:\w+$", description="module:Class, such as mine:Patient")]
KvReservation = Literal["longest", "grow"]
MemoryShare = Annotated[float, Field(gt=0, le=1)]


class HostCost(Table):
    """Host time of one part of a step: `base` plus so much for each row, token and prompt of the batch.

    A step that computes prompts adds `prefill`, however many; a piece of a prompt counts as a prompt. Of `receive` the
    rows are the requests that have come.
    """

    base: Duration
    per_row: Duration = 0
    per_token: Duration = 0
    prefill: Duration = 0
    per_prompt: Duration = 0
    source: str


OWN = "set by the scenario"
NOTHING = HostCost(base="0ns", source="no such work")  # type: ignore[arg-type]


class HostCosts(Table):
    """The parts of a step that run on the host thread besides launching.

    `mask` is work between logits and sampling, such as a grammar's; None where nothing has to be done there.
    """

    receive: HostCost
    schedule: HostCost
    prepare: HostCost
    process: HostCost
    mask: HostCost | None = None


class FrameworkCost(Table):
    """Host time of one op on top of the bare API call: dispatch, allocation, autograd keys, Python."""

    default: Duration
    by_kind: dict[str, Duration] = Field(default_factory=dict)
    source: str


class EnginePreset(Table):
    """Knobs and costs of one engine.

    `grain` says whether a launch is one of the engine's fused kernels or one framework op. `input_copies`
    counts host-to-device copies of a step's inputs. `row_tile`: matrix products compute whole tiles of so many
    rows. `late_stop_token` and `late_stop_length`: whether,
    under overlap, a request that stops so occupies a row for one more step. `missing` says why the engine has no
    `overlap`, no `graphs` or no `masks`; `extends` names the preset that has what this one leaves out. Without
    `pad_to_bucket` only a batch of exactly a bucket's size replays a graph. `piecewise` are the numbers of tokens to
    which steps with prompts are padded to replay graphs between their attention kernels; None launches them eagerly.

    The scheduler: `ordering` says who of those that wait is considered first (`shortest-first`: with the least of a
    prompt to compute, `longest-prefix`: with the most of it in the cache), `batching` whether prompts or decode rows go
    first or share steps, `policy` names a class or a function "module:name" in its place. `max_batch` bounds the
    requests in work (a closed batch runs whole), `token_budget` the new tokens of a step that computes prompts, which
    `chunked_prefill` cuts to it.

    The KV cache has `kv_blocks` blocks; None takes what weights and captured graphs leave of `memory_share` of the
    device's memory, 0.9 being vLLM's default for what an engine plans with. `graph_memory` is what a captured graph
    holds; None takes what was measured on an H100, by kernels. `kv_reservation` gives a request the blocks of its
    longest output when it is admitted, or lets it grow block by block: then `watermark` of all blocks stay free at an
    admission (0.01 being vLLM's), and when none are left whoever was admitted last computes its prompt again. With
    `prefix_cache` prompts that begin alike are computed once and share blocks, as long as these are not needed
    otherwise.
    """

    name: str
    title: str
    grain: Grain
    host: HostCosts
    framework: FrameworkCost
    future_map: FutureMap
    sample_in_graph: bool
    copy_stream: CopyStream
    input_copies: Annotated[int, Field(ge=0)]
    row_tile: Count = 1
    late_stop_token: bool = True
    late_stop_length: bool = False
    overlap: Overlap = Overlap()
    missing: dict[Missing, str] = Field(default_factory=dict)
    extends: str | None = None
    pad_to_bucket: bool = True
    piecewise: Buckets | None = None
    ordering: Ordering = "fcfs"
    batching: Batching = "prefill-first"
    chunked_prefill: bool = False
    policy: PolicyName | None = None
    max_batch: Count = 256
    token_budget: Count = 8192
    prefix_cache: bool = False
    kv_reservation: KvReservation = "longest"
    watermark: Share = 0.01
    kv_blocks: Count | None = None
    memory_share: MemoryShare = 0.9
    graph_memory: Bytes | None = None
    buckets: Buckets
    source: str

    def lacks(self, mode: str) -> str | None:
        """Why the engine does not have a mode; None if it has it."""
        halves: list[tuple[Missing, bool]] = [
            ("masks", self.host.mask is not None),
            ("overlap", mode.startswith("overlap")),
            ("graphs", mode.endswith("graph")),
        ]
        return next((self.missing[half] for half, needed in halves if needed and half in self.missing), None)


class HostOverride(Table):
    """A scenario's own host cost; what it leaves out stays the preset's."""

    base: Duration | None = None
    per_row: Duration | None = None
    per_token: Duration | None = None
    prefill: Duration | None = None
    per_prompt: Duration | None = None


class HostOverrides(Table):
    """Host costs that a scenario replaces."""

    receive: HostOverride = HostOverride()
    schedule: HostOverride = HostOverride()
    prepare: HostOverride = HostOverride()
    process: HostOverride = HostOverride()
    mask: HostOverride = HostOverride()


class FrameworkOverride(Table):
    """A scenario's own host time of an op: `default` for all kinds, but for those that `by_kind` names."""

    default: Duration | None = None
    by_kind: dict[str, Duration] = Field(default_factory=dict)

    def applied_to(self, cost: FrameworkCost) -> FrameworkCost:
        """The preset's cost with this in its place: a default of one's own leaves none of its kinds."""
        if self.default is None and not self.by_kind:
            return cost
        kept = cost.by_kind if self.default is None else {}
        default = cost.default if self.default is None else self.default
        return FrameworkCost.model_construct(default=default, by_kind={**kept, **self.by_kind}, source=OWN)


class EngineOverrides(Table):
    """What a scenario may change of its preset; None keeps the preset's."""

    host: HostOverrides = HostOverrides()
    framework: FrameworkOverride = FrameworkOverride()
    overlap: OverlapOverride = OverlapOverride()
    buckets: Buckets | None = None
    grain: Grain | None = None
    future_map: FutureMap | None = None
    sample_in_graph: bool | None = None
    copy_stream: CopyStream | None = None
    pad_to_bucket: bool | None = None
    piecewise: Buckets | None = None
    late_stop_token: bool | None = None
    late_stop_length: bool | None = None
    ordering: Ordering | None = None
    batching: Batching | None = None
    chunked_prefill: bool | None = None
    policy: PolicyName | None = None
    max_batch: Count | None = None
    token_budget: Count | None = None
    prefix_cache: bool | None = None
    kv_reservation: KvReservation | None = None
    watermark: Share | None = None
    kv_blocks: Count | None = None
    memory_share: MemoryShare | None = None
    graph_memory: Bytes | None = None

    def applied_to(self, preset: EnginePreset) -> EnginePreset:
        """Return the preset with these overrides in it, replaced host costs naming the scenario as source."""
        knobs = {
            name: value
            for name in EngineOverrides.model_fields
            if name not in ("host", "framework", "overlap") and (value := getattr(self, name)) is not None
        }
        overlap = preset.overlap.model_copy(update=self.overlap.model_dump(exclude_none=True))
        host = {}
        for name in HostOverrides.model_fields:
            override: HostOverride = getattr(self.host, name)
            if own := override.model_dump(exclude_none=True):
                own["source"] = OWN
                host[name] = (getattr(preset.host, name) or NOTHING).model_copy(update=own)
        return preset.model_copy(
            update={
                **knobs,
                "host": preset.host.model_copy(update=host),
                "framework": self.framework.applied_to(preset.framework),
                "overlap": overlap,
            }
        )
