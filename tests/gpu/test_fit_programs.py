"""The kernels of programs: planted constants must come out of the fit again, through noise, too."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from gpu.calibration.fit_programs import MIB, program_kernels, used_tiles
from gpu.calibration.measure_programs_plan import products_and_sets
from scenarios.profile import ProgramKernels
from sim.program.products import Products

GAP = 0.25
PLANTED = ProgramKernels.model_validate({
    "floor": "2.1us", "per_1000_first_steps": "2us", "per_1000_steps": "1.1us", "flops": "7TFLOP/s",
    "tiles": [[64, 8], [64, 64], [256, 128]], "add_floor": "900ns", "cache": "7TB/s", "memory": "2.9TB/s",
    "miss": "600ns", "found_up_to": "24MiB", "lost_from": "46MiB", "source": "planted",
})  # fmt: skip
NAMES = [{"name": f"nvjet_sm90_tst_{a}x{b}_64x4_1x2_h_bz_NNT"} for a, b in PLANTED.tiles]


def measured(noise: float = 0.0) -> dict[str, Any]:
    """What would be measured if the planted constants were all."""
    products, random = Products(PLANTED, 132), Random(0)

    def us(ns: float) -> float:
        return ns / 1000 * random.uniform(1 - noise, 1 + noise) + GAP

    rows = []
    for m, n, k, sets in products_and_sets():
        footprint = 2 * (m * k + m * n + sets * k * n)
        ns, _ = products.matmul(m, n, k, products.cache.found(footprint))
        rows.append({"m": m, "n": n, "k": k, "sets": sets, "us": us(ns)})
    adds = [
        {"elements": n, "sets": sets, "us": us(products.add(n, products.cache.found(12 * n * sets)))}
        for n in (1 << 16, 1 << 19, 1 << 20, 1 << 23)
        for sets in (1, 1 << 11)
    ]
    return {"products": rows, "adds": adds, "tiles": [*NAMES, {"name": "splitKreduce_kernel<32, 16, int, float>"}]}


def test_planted_constants_come_out_again() -> None:
    found = ProgramKernels.model_validate(program_kernels(measured(), GAP, 132))
    rates = {"source", "residual", "tiles"}
    assert found.model_dump(exclude=rates) == pytest.approx(PLANTED.model_dump(exclude=rates), rel=0.01)
    assert found.tiles == PLANTED.tiles
    assert found.residual.startswith("median 0.")


def test_noise_of_three_percent_does_not_carry_them_away() -> None:
    found = ProgramKernels.model_validate(program_kernels(measured(0.03), GAP, 132))
    for name in ("floor", "flops", "memory", "cache"):
        assert getattr(found, name) == pytest.approx(getattr(PLANTED, name), rel=0.1), name
    assert abs(found.found_up_to - PLANTED.found_up_to) <= 3 * MIB
    assert abs(found.lost_from - PLANTED.lost_from) <= 3 * MIB


def test_tiles_are_read_from_the_names_of_kernels() -> None:
    assert used_tiles([*NAMES, *NAMES, {"name": "no tile"}]) == [(64, 8), (64, 64), (256, 128)]
