"""A host as it was measured a moment ago: its numbers in place of the profile's and the preset's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scenarios.engine import EnginePreset
from sim.program.constants import Constants

KERNELS = (
    "gemm",
    "gemm_long",
    "gemm_bias",
    "norm",
    "rope",
    "kv_write",
    "attention",
    "elementwise",
    "resolve",
    "argmax",
    "store",
)
"""Kinds of operation that launch a kernel, or several as one."""
ALIKE = {"embedding": "norm", "combine": "elementwise"}
"""Kinds that cost what another does: all of them are launches of our own kernels."""
CALLS = {
    "memcpy": "copy_call",
    "event_record": "event_record_call",
    "event_wait": "event_wait_call",
    "replay": "graph_launch_call",
}
"""Calls of the runtime, and the constant that each of them is."""
WORK = ("receive", "schedule", "prepare", "process")
SOURCE = "measured in the process that ran the scenario"


def with_host_numbers(
    engine: EnginePreset, constants: Constants, numbers: Mapping[str, int]
) -> tuple[EnginePreset, Constants]:
    """A preset and constants whose host times are these: nanoseconds by kind of launch, work, and ``..._per_row``.

    The thinnest launch becomes the bare one, and what another takes beyond it becomes the framework's. What has no
    number keeps its cost, so do a prompt, its tokens and a request that arrives; a row, which is a token in decode,
    costs what it was measured to cost with it.
    """
    launch = min(numbers[kind] for kind in KERNELS if kind in numbers)
    constants = replace(
        constants, launch_call=launch, **{name: numbers[kind] for kind, name in CALLS.items() if kind in numbers}
    )
    by_kind = dict(engine.framework.by_kind)
    by_kind |= {kind: numbers[kind] - launch for kind in KERNELS if kind in numbers}
    by_kind |= {kind: by_kind[same] for kind, same in ALIKE.items() if same in numbers}
    by_kind |= {kind: 0 for kind in CALLS if kind in numbers}
    by_kind |= {"stream": numbers["stream"]} if "stream" in numbers else {}
    work = {
        name: cost.model_copy(
            update={
                "base": numbers[name],
                "source": SOURCE,
                **({} if name == "receive" else {"per_row": max(0, numbers[f"{name}_per_row"] - cost.per_token)}),
            }
        )
        for name in WORK
        if name in numbers
        for cost in [getattr(engine.host, name)]
    }
    framework = engine.framework.model_copy(update={"by_kind": by_kind, "source": SOURCE})
    host = engine.host.model_copy(update=work)
    return engine.model_copy(update={"framework": framework, "host": host}), constants
