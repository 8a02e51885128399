"""A host as it was measured a moment ago: its numbers in place of the profile's and the preset's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scenarios.engine import EnginePreset, HostCost
from sim.program.constants import Constants

KERNELS = (
    "gemm",
    "gemm_long",
    "gemm_bias",
    "norm",
    "rope",
    "kv_write",
    "attention",
    "attention_prefill",
    "index",
    "elementwise",
    "resolve",
    "argmax",
    "store",
    "embedding",
)
"""Kinds of operation that launch a kernel, or several as one."""
ALIKE = {"embedding": "norm", "kv_write": "norm", "combine": "elementwise"}
"""Kinds that cost what another does where they have no number: all of them are launches of our own kernels."""
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
    """A preset and constants whose host times are these: nanoseconds by kind of launch, of work, and ``..._per_row``.

    The thinnest launch becomes the bare one, and what another takes beyond it becomes the framework's. What has no
    number keeps its cost, as those of prompts do where nothing was measured of them (``..._with_prompts`` is a step's
    base, ``..._per_prompt`` and ``..._per_token`` come on top); a row, which is a token in decode, costs what it was
    measured to cost with it.
    """
    launch = min(numbers[kind] for kind in KERNELS if kind in numbers)
    constants = replace(
        constants, launch_call=launch, **{name: numbers[kind] for kind, name in CALLS.items() if kind in numbers}
    )
    by_kind = dict(engine.framework.by_kind)
    by_kind |= {kind: numbers[kind] - launch for kind in KERNELS if kind in numbers}
    by_kind |= {kind: by_kind[same] for kind, same in ALIKE.items() if same in numbers and kind not in numbers}
    by_kind |= {kind: 0 for kind in CALLS if kind in numbers}
    by_kind |= {"stream": numbers["stream"]} if "stream" in numbers else {}
    work = {name: _work(name, getattr(engine.host, name), numbers) for name in WORK if name in numbers}
    framework = engine.framework.model_copy(update={"by_kind": by_kind, "source": SOURCE})
    host = engine.host.model_copy(update=work)
    return engine.model_copy(update={"framework": framework, "host": host}), constants


def prefill_of(name: str, numbers: Mapping[str, int], base: int, unknown: int = 0) -> int:
    """What a step with prompts takes beyond a decode step's base, where that was measured."""
    with_prompts = numbers.get(f"{name}_with_prompts")
    return unknown if with_prompts is None else max(0, with_prompts - base)


def _work(name: str, cost: HostCost, numbers: Mapping[str, int]) -> HostCost:
    """One part of the scheduler's work as measured; the rows of ``receive`` are the requests that have come."""
    per_token = numbers.get(f"{name}_per_token", cost.per_token)
    if name == "receive":
        per_row = numbers.get("receive_per_request", cost.per_row)
    else:
        per_row = max(0, numbers[f"{name}_per_row"] - per_token)
    return cost.model_copy(
        update={
            "base": numbers[name],
            "per_row": per_row,
            "per_token": per_token,
            "prefill": prefill_of(name, numbers, numbers[name], cost.prefill),
            "per_prompt": numbers.get(f"{name}_per_prompt", cost.per_prompt),
            "source": SOURCE,
        }
    )
