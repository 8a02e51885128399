"""The host costs of engines, as their presets' files spell them: our own one, and plain PyTorch calls."""

from __future__ import annotations

from statistics import fmean, median
from typing import Any

from gpu.calibration.fit_constants import Estimate
from gpu.calibration.measurements import Measurements
from scenarios.engine import EnginePreset
from scenarios.loader import load_engine
from scenarios.units import format_duration
from sim.studies.host_numbers import ALIKE, CALLS, KERNELS, WORK

PREFILL = ("attention_prefill", "index")
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
    """The preset of our own engine: medians over all times that its costs were taken."""
    runs, prefill = m.engine["runs"], m.engine["prefill"]
    numbers = {kind: round(median(run[kind] for run in runs)) for kind in runs[0]}
    launch = _ns(constants["launch_call"])
    by_kind = {kind: max(0, numbers[kind] - launch) for kind in KERNELS}
    by_kind |= {kind: by_kind[same] for kind, same in ALIKE.items()}
    by_kind |= {kind: max(0, prefill[kind] - launch) for kind in PREFILL}
    by_kind |= {kind: max(0, numbers[kind] - _ns(constants[constant])) for kind, constant in CALLS.items()}
    by_kind["stream"] = numbers["stream"]
    where = f"engine.json, median of {len(runs)} times within one calibration"
    source = (
        f"{where}: a launch timed inside a small model's step, less the bare call; embedding as norm, combine and other"
        f" kinds as elementwise. A matrix product: {_scatter(runs, 'gemm')}"
    )
    work = {
        name: (
            numbers[name],
            max(0, numbers[f"{name}_per_row"] - prefill.get(f"{name}_per_token", 0)),
            prefill.get(f"{name}_per_token", 0),
            f"{where}: {_scatter(runs, name)} and a row's share"
            + ("; a token's from prompts alone in their steps" if f"{name}_per_token" in prefill else ""),
        )
        for name in WORK
    }
    return _preset("lean", work, by_kind, by_kind["elementwise"], source)


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
        name: (cost.base, cost.per_row, cost.per_token, "as the preset lean: no scheduler belongs to PyTorch")
        for name in WORK
        for cost in [getattr(ours, name)]
    }
    return _preset("pytorch", work, by_kind, by_kind["elementwise"], source)


def _preset(
    name: str, work: dict[str, tuple[int, int, int, str]], by_kind: dict[str, int], default: int, source: str
) -> dict[str, Any]:
    """A shipped preset with other costs; the knobs that its file sets stay."""
    knobs = load_engine(name).model_dump(exclude={"host", "framework"}, exclude_unset=True)
    document = {
        **{key: list(value) if isinstance(value, tuple) else value for key, value in knobs.items()},
        "host": {
            part: {
                "base": format_duration(base),
                "per_row": format_duration(per_row),
                **({"per_token": format_duration(per_token)} if per_token else {}),
                "source": where,
            }
            for part, (base, per_row, per_token, where) in work.items()
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
