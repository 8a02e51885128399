"""From measured training steps to the file of costs that predictions read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from gpu.training.kernels_file import read_kernels
from sim.program.training import chunks, tensors

GEMM = ("gemm", "nvjet", "cutlass", "xmma")
"""Parts of the names of kernels that compute matrix products."""
AFTER, BEFORE = ("splitkreduce", "splitk_reduce"), ("memset",)
"""Parts of the names of what one matrix product launches besides its own kernel, after and before it."""
TENSORS = {"adamw": 36, "sgd": 64}
"""Tensors of one multi-tensor kernel, of four lists and of two (ATen/native/cuda/MultiTensorApply.cuh)."""
NARROW = 1024
"""Up to this width the device is never what the host waits for."""
HOW = "kernels as the profiler stamps them in replays, host phases from medians over narrow models"
Launches = list[tuple[str, float]]
"""Short names and durations (ns) of kernels in order, what belongs to one product merged into it."""


def merged(kernels: Sequence[Sequence[Any]], gap: float) -> Launches:
    """Kernels with what belongs to them merged into them, the gap (ns) between them included; replayed times count."""
    found: Launches = []
    waiting = 0.0
    for name, *times in kernels:
        ns = times[-1]
        if any(part in name.lower() for part in BEFORE):
            waiting += ns + gap
        elif any(part in name.lower() for part in AFTER) and found:
            found[-1] = found[-1][0], found[-1][1] + gap + ns
        else:
            found.append((short(name), waiting + ns))
            waiting = 0.0
    return found


def short(name: str) -> str:
    """What a kernel does, of what its template calls itself."""
    lower = name.lower()
    known = {
        "gammabeta": "norm_weights",
        "layer_norm_grad_input": "norm_input",
        "layer_norm": "norm",
        "gelubackward": "gelu_backward",
        "gelu": "gelu",
        "functor_add": "add",
        "multi_tensor": "optimizer",
    }
    if any(part in lower for part in GEMM):
        return "gemm"
    return next((word for part, word in known.items() if part in lower), "other")


def blocks(kernels: Launches, layers: int, source: str) -> tuple[Launches, Launches, Launches]:
    """What precedes the blocks, a block's kernels, each the mean over all blocks but the last, and the last block's.

    The last block that runs backward is the model's first, whose input needs no gradient. Raises ``ValueError`` for
    kernels that do not repeat.
    """
    names = [name for name, _ in kernels]
    for start in range(len(kernels)):
        for period in range(1, (len(kernels) - start) // (layers - 1) + 1):
            pattern, end = names[start : start + period], start + period * (layers - 1)
            rest = names[end:]
            if names[start:end] == pattern * (layers - 1) and 0 < len(rest) <= period and _within(rest, pattern):
                every = [kernels[start + position : end : period] for position in range(period)]
                return kernels[:start], [(same[0][0], mean(ns for _, ns in same)) for same in every], kernels[end:]
    raise ValueError(f"{source}: {len(kernels)} kernels that do not repeat {layers} times: {names}")


def _within(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether names occur in another list in the same order."""
    rest = iter(whole)
    return all(name in rest for name in part)


def per_configuration(row: dict[str, Any], gap: float) -> dict[str, Launches]:
    """The phases of one profiled configuration of two micro-batches."""
    where = f"hidden {row['hidden']}, rows {row['rows']}"
    phases = {name: merged(kernels, gap) for name, kernels in row["kernels"].items()}
    before, forward, tail = blocks(phases["forward 0"], row["layers"], where)
    if before or len(tail) != len(forward):
        raise ValueError(f"{where}: a forward pass of other kernels than its blocks'")
    prefix, backward, first = blocks(phases["backward 0"], row["layers"], where)
    _, again, again_first = blocks(phases["backward 1"], row["layers"], where)
    more = sum(ns for _, ns in again + again_first) - sum(ns for _, ns in backward + first)
    number = len(again) - len(backward)
    return {
        "forward": forward,
        "loss": phases["loss 0"] + prefix,
        "backward": backward,
        "first": first,
        "accumulate": [("add", max(1.0, more / (2 * number)))] * number,
    }


def lines(kernels: dict[tuple[int, int], Launches]) -> Iterator[str]:
    """The kernels of a phase as lines of a TOML list."""
    positions = {len(row) for row in kernels.values()}
    if len(positions) != 1:
        raise ValueError(f"kernels of a phase differ in number: { {size: len(row) for size, row in kernels.items()} }")
    names = _numbered([name for name, _ in next(iter(kernels.values()))])
    for position, name in enumerate(names):
        points = ", ".join(f'[{w}, {r}, "{row[position][1] / 1000:.3f}us"]' for (w, r), row in sorted(kernels.items()))
        yield f'  {{ name = "{name}", points = [{points}] }},'


def _numbered(names: Sequence[str]) -> list[str]:
    """Names that occur twice get a number."""
    return [f"{name}_{names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def optimizer_lines(profiled: Sequence[dict[str, Any]], name: str) -> Iterator[str]:
    """What a kernel of an optimizer takes by its chunks, the mean of those with equally many."""
    most, befores = TENSORS[name], []
    seen: dict[int, list[float]] = {}
    for row in profiled:
        if row.get("optimizer", "adamw") != name:
            continue
        times = [float(kernel[-1]) for kernel in row["kernels"]["optimizer"]]
        dealt = chunks(tensors(row["hidden"], row["layers"]), most)
        befores += times[: len(times) - len(dealt)]
        if len(times) - len(dealt) not in (0, 1):
            raise ValueError(f"{name}, hidden {row['hidden']}: {len(times)} kernels, expected {len(dealt)} or one more")
        for number, ns in zip(dealt, times[-len(dealt) :], strict=True):
            seen.setdefault(number, []).append(ns)
    yield f"tensors = {most}"
    if befores:
        yield f'before = "{mean(befores) / 1000:.3f}us"'
    points = ", ".join(f'[{number}, "{mean(times) / 1000:.3f}us"]' for number, times in sorted(seen.items()))
    yield f"points = [{points}]"


def paces(steps: Sequence[dict[str, Any]]) -> tuple[dict[str, float], list[float]]:
    """What launches of the serving engine took in the median, and how much slower the host was at each row.

    Nothing and one pace where they were not timed.
    """
    seen = [row["in_process"] for row in steps if "in_process" in row]
    if len(seen) < len(steps):
        return {}, [1.0] * len(steps)
    usual = {kind: float(median(one[kind] for one in seen)) for kind in seen[0]}
    return usual, [median(one[kind] / ns for kind, ns in usual.items()) for one in seen]


def host_lines(steps: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Host time of each phase: base and slope through the medians of narrow models of two depths.

    What the host does depends on neither width nor rows, and what it takes drifts: each row's times are divided by the
    host's pace at that moment. Phases are timed behind a wait for the device; in steps that follow each other at once
    all of them take more, by the median of what the host took for a step over the sum of its phases.
    """
    few, many = (edge(row["layers"] for row in steps) for edge in (min, max))
    usual, pace = paces(steps)
    narrow = [(row, slow) for row, slow in zip(steps, pace, strict=True) if row["hidden"] <= NARROW]

    more = median(median(row["eager"]["host_us"]) / sum(row["phases"].values()) for row, _ in narrow)

    def at(layers: int, phase: str, optimizer: str | None = None) -> float:
        rows = [(row, slow) for row, slow in narrow if row["layers"] == layers]
        times = [
            row["phases"][phase] / slow for row, slow in rows if optimizer in (None, row.get("optimizer", "adamw"))
        ]
        return float(median(times) * more)

    def line(name: str, phase: str, optimizer: str | None = None) -> str:
        a, b = at(few, phase, optimizer), at(many, phase, optimizer)
        slope = max(0.0, (b - a) / (many - few))
        return f'{name} = {{ base = "{max(0.0, a - few * slope):.3f}us", per_layer = "{slope:.3f}us" }}'

    for name in ("zero", "forward", "loss", "backward"):
        yield line(name, name if name == "zero" else f"{name} 0")
    later = median(
        (ns - row["phases"]["backward 0"]) / row["layers"] / slow
        for row, slow in narrow
        for phase, ns in row["phases"].items()
        if phase.startswith("backward ") and phase != "backward 0"
    )
    yield f'accumulate = {{ base = "0us", per_layer = "{max(0.0, later * more):.3f}us" }}'
    for name in TENSORS:
        yield line(name, "optimizer", name)
    if usual:
        yield from ("", "[reference]", *(f'{kind} = "{round(ns)}ns"' for kind, ns in usual.items()))


def graph_gap(steps: Sequence[dict[str, Any]], profiled: Sequence[dict[str, Any]]) -> float:
    """What a captured step takes beyond its kernels, for each (ns): the median of what was timed and profiled."""
    keys = ("hidden", "rows", "layers", "optimizer")
    known = {tuple(row.get(key, "adamw") for key in keys): row["kernels"] for row in profiled}
    found = []
    for row in steps:
        kernels = known.get(tuple(row.get(key, "adamw") for key in keys))
        if kernels is None or row.get("accumulate", 1) > 1:
            continue
        ours = [kernel[-1] for name in ("forward 0", "loss 0", "backward 0", "optimizer") for kernel in kernels[name]]
        found.append((1000 * median(row["graph-step"]["step_us"]) - sum(ours)) / len(ours))
    return float(max(0.0, median(found)))


def fitted(steps: dict[str, Any], profiled: dict[str, Any], name: str) -> str:
    """The costs as TOML."""
    machine = steps["provenance"]
    gap = graph_gap(steps["rows"], profiled["rows"])
    rows = [row for row in profiled["rows"] if row.get("optimizer", "adamw") == "adamw"]
    rows.sort(key=lambda row: row["layers"])  # of a size that was profiled at two depths, the deeper one counts
    phases = {(row["hidden"], row["rows"]): per_configuration(row, gap) for row in rows}
    text = [
        "# Generated by gpu/training/fit.py from measurements: refit, do not edit.",
        f'name = "{name}"',
        f'source = "{machine["gpu"]}, driver {machine["driver"]}, torch {machine["torch"]}, {machine["date"]}: {HOW}"',
        f'graph_gap = "{round(gap)}ns"',
    ]
    for phase in ("forward", "loss", "backward", "first", "accumulate"):
        text += [f"{phase} = [", *lines({size: found[phase] for size, found in phases.items()}), "]"]
    for optimizer in ("adamw", "sgd"):
        text += ["", f"[optimizer.{optimizer}]", *optimizer_lines(profiled["rows"], optimizer)]
    text += ["", "[host]", *host_lines(steps["rows"])]
    return "\n".join(text) + "\n"


def main(folder: Path, out: Path) -> None:
    """Fit what lies in a folder."""
    steps, profiled = json.loads((folder / "steps.json").read_text()), read_kernels(folder / "kernels.json")
    out.write_text(fitted(steps, profiled, out.stem))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
