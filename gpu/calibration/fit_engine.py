"""The host costs of engines, as their presets' files spell them: our own one, and plain PyTorch calls."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from gpu.calibration.fit_constants import Estimate
from gpu.calibration.measurements import Measurements
from scenarios.engine import EnginePreset
from scenarios.loader import load_engine
from scenarios.units import format_duration
from sim.studies.host_numbers import ALIKE, CALLS, KERNELS, WORK, prefill_of

QUIET = 0.25
"""The quantile of all times that costs were taken which a preset holds.

A neighbour on the host makes everything slower while it is there and nothing faster, so that the quiet host is found
among the lower values, as long as it was quiet for a quarter of the campaign; the lowest value would be the luckiest.
"""
PREFILL = ("attention_prefill", "index")
ALWAYS = ("base", "per_row")
"""Costs that a preset's file spells even where they are nothing."""
PYTORCH = {
    "gemm": "mm_out",
    "elementwise": "add_out",
    "sleep": "sleep",
    "embedding": "embedding",
    "attention": "sdpa",
    "argmax": "argmax",
    "index": "index_select_out",
    "norm": "rms_norm",
    "copy": "add_out",
}
"""Kinds of operation, and the call of torch that was timed for each."""


def lean(m: Measurements, constants: dict[str, Estimate]) -> dict[str, Any]:
    """The preset of our own engine, on a quiet host."""
    runs, prefill = m.engine["runs"], quietest(m.engine["prefill"])
    numbers = {kind: quiet(kind, [run[kind] for run in runs]) for kind in runs[0]}
    launch = _ns(constants["launch_call"])
    by_kind = {kind: max(0, numbers[kind] - launch) for kind in KERNELS if kind in numbers}
    by_kind |= {kind: by_kind[same] for kind, same in ALIKE.items() if kind not in numbers}
    by_kind |= {kind: max(0, prefill[kind] - launch) for kind in PREFILL}
    by_kind |= {kind: max(0, numbers[kind] - _ns(constants[constant])) for kind, constant in CALLS.items()}
    by_kind["stream"] = numbers["stream"]
    where = f"engine.json, lower quartile of {len(runs)} times within one calibration"
    source = (
        f"{where}: a launch timed inside a small model's step, less the bare call; embedding as norm, combine and other"
        f" kinds as elementwise. A matrix product: {_scatter(runs, 'gemm')}"
    )
    work = {name: _work(name, numbers, prefill, f"{where}: {_scatter(runs, name)}") for name in WORK}
    return _preset("lean", work, by_kind, by_kind["elementwise"], source)


def quiet(kind: str, values: Sequence[int]) -> int:
    """What a cost is while no neighbour disturbs the host; of a row's share the median.

    Such a share is the difference of two batches, which a neighbour makes larger or smaller, whichever it meets.
    """
    return round(float(np.quantile(values, 0.5 if kind.endswith("_per_row") else QUIET)))


def quietest(prefills: Sequence[dict[str, int]]) -> dict[str, int]:
    """One of several times that the costs of prompts were taken, whose sum has the quantile of a quiet host.

    A time's numbers belong together: what steps, prompts and tokens cost was told apart in one fit.
    """
    ordered = sorted(prefills, key=lambda numbers: sum(numbers.values()))
    return ordered[int(QUIET * (len(ordered) - 1))]


def _work(name: str, numbers: dict[str, int], prefill: dict[str, int], scatter: str) -> dict[str, Any]:
    """What a part of the scheduler's work costs; a row of a decode step, which is a token, pays both their shares."""
    per_token, per_prompt = (prefill.get(f"{name}_per_{what}", 0) for what in ("token", "prompt"))
    per_row = max(0, numbers[f"{name}_per_row"] - per_token)
    told = " and a row's share"
    if f"{name}_per_request" in prefill:
        per_row, told = prefill[f"{name}_per_request"], "; a request's share where dozens come at once"
    elif f"{name}_per_prompt" in prefill:
        told += "; a prompt's and a token's from steps of one prompt to dozens"
    elif f"{name}_per_token" in prefill:
        told += "; a token's from prompts alone in their steps"
    costs = {"base": numbers[name], "per_row": per_row, "per_token": per_token}
    costs |= {"prefill": prefill_of(name, prefill, numbers[name]), "per_prompt": per_prompt}
    return {**{of: ns for of, ns in costs.items() if ns or of in ALWAYS}, "source": scatter + told}


def pytorch(m: Measurements, constants: dict[str, Estimate]) -> dict[str, Any]:
    """The preset of plain PyTorch calls, whose scheduler is ours."""
    ours = EnginePreset.model_validate(lean(m, constants)).host
    tables = [m.host["host_calls"], m.host["host_calls_again"]]
    launch = constants["launch_call"].value
    by_kind = {
        kind: max(0, round(1000 * (fmean(table[call]["p50"] for table in tables) - launch)))
        for kind, call in PYTORCH.items()
    }
    source = (
        "host.json, host_calls: mean of p50 in both runs, less launch_call: "
        + ", ".join(f"{kind} {call}" for kind, call in PYTORCH.items())
        + "; other kinds: elementwise"
    )
    work = {
        name: {
            **{of: ns for of, ns in getattr(ours, name).model_dump(exclude={"source"}).items() if ns or of in ALWAYS},
            "source": "as the preset lean: no scheduler belongs to PyTorch",
        }
        for name in WORK
    }
    return _preset("pytorch", work, by_kind, by_kind["elementwise"], source)


def _preset(
    name: str, work: dict[str, dict[str, Any]], by_kind: dict[str, int], default: int, source: str
) -> dict[str, Any]:
    """A shipped preset with other costs; the knobs that its file sets stay."""
    knobs = load_engine(name).model_dump(exclude={"host", "framework"}, exclude_unset=True)
    document = {
        **{key: list(value) if isinstance(value, tuple) else value for key, value in knobs.items()},
        "host": {
            part: {of: value if of == "source" else format_duration(value) for of, value in costs.items()}
            for part, costs in work.items()
        },
        "framework": {
            "default": format_duration(default),
            "source": source,
            "by_kind": {kind: format_duration(ns) for kind, ns in by_kind.items()},
        },
    }
    EnginePreset.model_validate(document)
    return document


def _ns(estimate: Estimate) -> int:
    return round(1000 * estimate.value)


def _scatter(runs: list[dict[str, int]], kind: str) -> str:
    values = [run[kind] for run in runs]
    return f"{min(values) / 1000:.1f} to {max(values) / 1000:.1f}us"
