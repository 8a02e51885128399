"""From made-up measurements to a file of costs, and back to what was measured."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

import gpu
from gpu.training.fit import blocks, fitted, merged
from gpu.training.kernels_file import read_kernels, write_kernels
from scenarios.shelf import TRAININGS
from scenarios.training import TrainingCosts
from sim.studies.validation.cases import predicted_again
from sim.studies.validation.results_file import read_results

LAYERS = 4
FORWARD = ["vectorized_layer_norm_kernel", "nvjet_sm90", "GeluCUDAKernelImpl", "nvjet_sm90", "CUDAFunctor_add"]
BACKWARD = ["nvjet_sm90", "nvjet_sm90", "GeluBackwardCUDAKernelImpl", "nvjet_sm90", "nvjet_sm90", "GammaBeta"]
INPUT = ["layer_norm_grad_input", "CUDAFunctor_add"]


def profiled(hidden: int, rows: int) -> dict[str, Any]:
    ns = hidden * rows

    def of(names: list[str]) -> list[list[Any]]:
        return [[name, ns] for name in names]

    adds = ["CUDAFunctor_add"] * 4
    block = [*BACKWARD, *INPUT]
    once = ["pow_backward", *block * (LAYERS - 1), *BACKWARD]
    twice = ["pow_backward", *[*block, *adds] * (LAYERS - 1), *BACKWARD, *adds]
    return {
        "hidden": hidden,
        "rows": rows,
        "layers": LAYERS,
        "kernels": {
            "forward 0": of(FORWARD * LAYERS),
            "loss 0": of(["pow", "mean"]),
            "backward 0": of(once),
            "backward 1": of(twice),
            "optimizer": of(["multi_tensor_apply_kernel"] * 2),
        },
    }


def steps() -> dict[str, Any]:
    """Two depths; the host is twice as slow in every other row, in all that it does, and a twentieth between steps."""
    rows: list[dict[str, Any]] = []
    for layers in (4, 12):
        phases = {"zero": 5.0, "forward 0": 10.0 + 30 * layers, "loss 0": 12.0, "backward 0": 20.0 + 40 * layers}
        phases |= {"optimizer": 100.0 + 2 * layers}
        rows += [{"hidden": 64, "layers": layers, "rows": 16, "phases": phases}]
        plain = phases | {"optimizer": 50.0}
        rows += [{"hidden": 64, "layers": layers, "rows": 16, "optimizer": "sgd", "phases": plain}]
    later = rows[0]["phases"] | {"backward 1": 220.0, "backward 2": 220.0}
    rows.append({"hidden": 64, "layers": 4, "rows": 16, "accumulate": 3, "phases": later})
    for number, row in enumerate(rows):
        slow = 1 + number % 2
        row["phases"] = {phase: slow * us for phase, us in row["phases"].items()}
        row["in_process"] = {"gemm": 12_000 * slow, "norm": 5_000 * slow}
        row["eager"] = {"host_us": [1.05 * sum(row["phases"].values())]}
    kernels = (
        5 * LAYERS + 2 + 1 + 8 * LAYERS - 2 + 2
    )  # forward, loss, backward (the first block has two less), optimizer
    rows[0]["graph-step"] = rows[1]["graph-step"] = {"step_us": [kernels * (1.024 + 0.25)]}
    return {"provenance": {"gpu": "G", "driver": "D", "torch": "T", "date": "2026-11-26"}, "rows": rows}


def test_the_costs_are_those_of_the_measurements() -> None:
    sizes = [(64, 16), (64, 32), (128, 16), (128, 32)]
    rows = [profiled(*size) for size in sizes] + [profiled(64, 16) | {"optimizer": "sgd"}]
    costs = TrainingCosts.model_validate(tomllib.loads(fitted(steps(), {"rows": rows}, "test")))
    assert [kernel.name for kernel in costs.forward] == ["norm", "gemm_1", "gelu", "gemm_2", "add"]
    assert {point[:2]: point[2] for point in costs.forward[1].points} == {(w, r): w * r for w, r in sizes}
    assert (len(costs.loss), len(costs.backward), len(costs.first), len(costs.accumulate)) == (3, 8, 6, 4)
    assert costs.accumulate[0].points[0] == (64, 16, 1024)
    assert (costs.optimizer["adamw"].before, costs.optimizer["adamw"].points) == (2304, ((16, 2304),))
    assert (costs.host["forward"].base, costs.host["forward"].per_layer) == (10_500, 31_500)
    assert (costs.host["adamw"].base, costs.host["adamw"].per_layer) == (105_000, 2_100)
    assert costs.host["accumulate"].per_layer == 10_500
    assert costs.host["sgd"].base == 52_500
    assert costs.reference == {"gemm": 12_000, "norm": 5_000}
    assert costs.graph_gap == 250


def test_the_shipped_costs_are_fitted_from_the_shipped_measurements() -> None:
    folder = Path(gpu.__file__).parent / "results" / "nvidia-h100" / "training"
    steps, profiled = json.loads((folder / "steps.json").read_text()), read_kernels(folder / "kernels.json")
    assert (TRAININGS.folder / "nvidia-h100.toml").read_text() == fitted(steps, profiled, "nvidia-h100")


def test_profiled_kernels_come_back_as_they_were_written(tmp_path: Path) -> None:
    phases = {"zero": [], "forward 0": [["gemm", 10, 9], ["norm", 3, 2]], "forward 1": [["norm", 4]]}
    rows = [{"hidden": 256, "kernels": phases}, {"hidden": 512, "kernels": phases, "not_replayed": "why"}]
    write_kernels(tmp_path / "kernels.json", {"gpu": "H100"}, rows)
    assert read_kernels(tmp_path / "kernels.json") == {"provenance": {"gpu": "H100"}, "rows": rows}
    assert (tmp_path / "kernels.json").read_text().count("norm") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kernels.json"]


def test_steps_of_other_sizes_were_measured_close_to_what_is_predicted_of_them() -> None:
    path = Path(gpu.__file__).parent / "results" / "nvidia-h100" / "training.json"
    cases = predicted_again(read_results(path)).cases
    errors = {case.name: case.predicted_ns / case.measured - 1 for case in cases}
    assert len(cases) == 27
    assert max(abs(error) for name, error in errors.items() if "graph-" in name) < 0.1
    # an eager step is the host's, which drifts by as much while it is measured
    eager = [abs(error) for name, error in errors.items() if "eager" in name]
    assert max(eager) < 0.17
    assert sum(eager) / len(eager) < 0.06


def test_what_a_product_launches_besides_belongs_to_it() -> None:
    row = [["Memset (Device)", 700], ["nvjet", 1000], ["splitKreduce_kernel", 300], ["CUDAFunctor_add", 500]]
    assert merged(row, 200.0) == [("gemm", 700 + 200 + 1000 + 200 + 300), ("add", 500.0)]


def test_kernels_that_do_not_repeat_are_refused() -> None:
    with pytest.raises(ValueError, match="do not repeat 4 times"):
        blocks([("a", 1.0), ("b", 1.0), ("c", 1.0), ("a", 1.0), ("d", 1.0)], 4, "here")
