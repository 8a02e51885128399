"""The file of profiled kernels: long names stand in it once, kernels are a name's number and their durations.

``{"provenance": {...}, "names": [...], "rows": [{..., "kernels": {phase: [[name, eager, replay], ...]}}]}``; durations
are integer nanoseconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Phases = dict[str, list[list[Any]]]


def read_kernels(path: Path) -> dict[str, Any]:
    """Provenance and rows, every kernel with its name."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    names = found.pop("names")
    for row in found["rows"]:
        row["kernels"] = {
            phase: [[names[kernel[0]], *kernel[1:]] for kernel in kernels] for phase, kernels in row["kernels"].items()
        }
    return found


def write_kernels(path: Path, machine: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write a row a line and a name a line; the file takes its place once it is complete."""
    numbers: dict[str, int] = {}
    lines = [json.dumps({**row, "kernels": _numbered(row["kernels"], numbers)}) for row in rows]
    names = ",\n".join(json.dumps(name) for name in numbers)
    fresh = path.with_suffix(".new")
    text = (
        f'{{"provenance": {json.dumps(machine)},\n"names": [\n{names}\n],\n"rows": [\n' + ",\n".join(lines) + "\n]}\n"
    )
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _numbered(phases: Phases, numbers: dict[str, int]) -> Phases:
    return {
        phase: [[numbers.setdefault(name, len(numbers)), *times] for name, *times in kernels]
        for phase, kernels in phases.items()
    }
