"""An engine preset: how one inference engine arranges its step, and what its Python costs.

Engines differ in these knobs, not in code paths. Host costs are medians in integer nanoseconds on the
machine named in their source; a scenario scales or replaces them.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scenarios.errors import Refusal
from scenarios.table import Count, Duration, NonEmpty, Table

Grain = Literal["engine", "pytorch"]
FutureMap = Literal["ring", "request-slot"]
CopyStream = Literal["forward", "separate"]


def _strictly_increasing(buckets: tuple[int, ...]) -> tuple[int, ...]:
    if any(before >= after for before, after in pairwise(buckets)):
        raise Refusal(buckets, "a strictly increasing list")
    return buckets


Buckets = Annotated[NonEmpty[Count], AfterValidator(_strictly_increasing)]
"""Batch sizes for which a graph is captured."""


class HostCost(Table):
    """Host time of one part of a step: `base` plus so much for each row and each token of the batch."""

    base: Duration
    per_row: Duration = 0
    per_token: Duration = 0
    source: str


class HostCosts(Table):
    """The four parts of a step that run on the host thread besides launching."""

    receive: HostCost
    schedule: HostCost
    prepare: HostCost
    process: HostCost


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
    under overlap, a request that stops so occupies a row for one more step.
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
    buckets: Buckets
    source: str


class HostOverride(Table):
    """A scenario's own host cost; what it leaves out stays the preset's."""

    base: Duration | None = None
    per_row: Duration | None = None
    per_token: Duration | None = None


class HostOverrides(Table):
    """Host costs that a scenario replaces."""

    receive: HostOverride = HostOverride()
    schedule: HostOverride = HostOverride()
    prepare: HostOverride = HostOverride()
    process: HostOverride = HostOverride()


class EngineOverrides(Table):
    """What a scenario may change of its preset; None keeps the preset's."""

    host: HostOverrides = HostOverrides()
    buckets: Buckets | None = None
    grain: Grain | None = None
    future_map: FutureMap | None = None
    sample_in_graph: bool | None = None
    copy_stream: CopyStream | None = None
    late_stop_token: bool | None = None
    late_stop_length: bool | None = None

    def applied_to(self, preset: EnginePreset) -> EnginePreset:
        """Return the preset with these overrides in it, replaced host costs naming the scenario as source."""
        knobs = {
            name: value
            for name in EngineOverrides.model_fields
            if name != "host" and (value := getattr(self, name)) is not None
        }
        host = {}
        for name in HostOverrides.model_fields:
            override: HostOverride = getattr(self.host, name)
            if own := override.model_dump(exclude_none=True):
                own["source"] = "set by the scenario"
                host[name] = getattr(preset.host, name).model_copy(update=own)
        return preset.model_copy(update={**knobs, "host": preset.host.model_copy(update=host)})
