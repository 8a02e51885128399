"""The host's costs in an engine's preset: a token's share of a prompt, and what a row of a decode step then costs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu.calibration import fit_engine
from gpu.calibration.fit_constants import fit_constants
from gpu.calibration.measurements import Measurements, load
from gpu.calibration.pace import pace, sentence
from gpu.calibration.regression import non_negative
from scenarios.loader import load_scenario
from scenarios.units import parse_duration
from sim.studies.serving import ServingRun

FOLDER = Path(__file__).parents[2] / "gpu/results/nvidia-h200"


@pytest.fixture(scope="module")
def measured() -> Measurements:
    return load(FOLDER)


def with_prefill(m: Measurements, **numbers: int) -> dict[str, Any]:
    runs = [run | {"prepare_per_row": 45} for run in m.engine["runs"]]
    engine = m.engine | {"prefill": [m.engine["prefill"][0] | numbers], "runs": runs}
    return fit_engine.lean(replace(m, engine=engine), fit_constants(m))["host"]


def test_a_rows_price_of_a_decode_step_is_shared_by_row_and_token(measured: Measurements) -> None:
    prepare = with_prefill(measured, prepare_per_token=15)["prepare"]
    assert [prepare[of] for of in ("per_row", "per_token")] == ["30ns", "15ns"]
    assert with_prefill(measured, prepare_per_token=60)["prepare"]["per_row"] == "0ns"


def test_where_no_token_was_measured_none_is_priced(measured: Measurements) -> None:
    plain = with_prefill(measured, schedule_per_token=0)["prepare"]
    assert "per_token" not in plain
    assert plain["per_row"] == "45ns"


def test_what_prompts_add_is_priced_by_prompt_and_a_request_by_its_coming(measured: Measurements) -> None:
    numbers = {"schedule_per_prompt": 9_000, "schedule_per_token": 0, "receive_per_request": 1_500}
    host = with_prefill(measured, **numbers)
    assert (host["schedule"]["per_prompt"], host["receive"]["per_row"]) == ("9us", "1.5us")
    assert "per_token" not in host["schedule"]
    assert "per_prompt" not in host["prepare"]


def test_a_step_with_prompts_has_a_base_of_its_own(measured: Measurements) -> None:
    base = with_prefill(measured)["prepare"]
    assert "prefill" not in base
    decode = parse_duration(base["base"])
    found = with_prefill(measured, prepare_with_prompts=decode + 7_000, schedule_with_prompts=1)
    assert found["prepare"]["prefill"] == "7us"
    assert "prefill" not in found["schedule"]  # less than a decode step's: it is noise


def test_coefficients_are_what_made_the_numbers_and_never_negative() -> None:
    rows = np.array([(1, prompts, tokens) for prompts, tokens in ((1, 4000), (4, 8000), (20, 7000), (48, 6000))], float)
    assert non_negative(rows, rows @ [90.0, 11.0, 0.02]) == pytest.approx([90.0, 11.0, 0.02])
    assert non_negative(rows, rows @ [90.0, 11.0, -0.002])[2] == 0


def test_numbers_of_a_process_keep_a_tokens_price_and_what_a_decode_row_costs_in_all() -> None:
    run = ServingRun.of(load_scenario("decode-qwen3-0.6b", ["engine.host.prepare.per_token=15ns"]))
    numbers = {"gemm": 9_000, "prepare": 10_000, "prepare_per_row": 40}
    found = run.with_host_numbers(numbers).engine.host.prepare
    assert (found.base, found.per_row, found.per_token) == (10_000, 25, 15)
    assert run.with_host_numbers(numbers | {"prepare_per_row": 3}).engine.host.prepare.per_row == 0


def test_a_kind_without_a_number_costs_what_another_does() -> None:
    run = ServingRun.of(load_scenario("decode-qwen3-0.6b"))
    numbers = {"norm": 4_100, "elementwise": 4_000, "embedding": 31_000}
    found = run.with_host_numbers(numbers)
    by_kind = found.engine.framework.by_kind
    assert found.constants.launch_call == 4_000
    assert [by_kind[kind] for kind in ("norm", "kv_write", "combine", "embedding")] == [100, 100, 0, 27_000]


def test_the_first_launch_of_a_step_is_told_from_later_ones() -> None:
    pytest.importorskip("torch")
    from gpu.calibration.stopwatch import Stopwatch

    watch = Stopwatch()
    watch.times |= {"argmax": [9, 9], "gemm": [30, 10, 12, 28, 11, 11], "embedding": [20, 22]}
    assert (watch.later("gemm"), watch.beyond_later("gemm")) == ([10, 12, 11, 11], 17)  # without the slowest of each
    assert (watch.later("embedding"), watch.beyond_later("embedding")) == ([20, 22], 0)


def test_a_neighbour_who_comes_and_goes_leaves_a_preset_as_it_is(measured: Measurements) -> None:
    """Two thirds of the campaign beside one: everything slower by 1.2 to 4 times, a row's share up or down."""
    draw = np.random.default_rng(3)
    kinds = measured.engine["runs"][0]
    alone = {kind: 20 if kind.endswith("_per_row") else 1_000 * number for number, kind in enumerate(kinds, 20)}

    def run(*, neighbour: bool) -> dict[str, int]:
        slower = draw.uniform(1.2, 4) if neighbour else 1
        noisy = {kind: round(ns * slower * draw.normal(1, 0.01)) for kind, ns in alone.items()}
        shares = {kind: max(0, ns + (draw.integers(-60, 60) if neighbour else 0)) for kind, ns in alone.items()}
        return {kind: shares[kind] if kind.endswith("_per_row") else ns for kind, ns in noisy.items()}

    runs = [run(neighbour=number % 3 > 0) for number in range(18)]
    prompts = [{"attention_prefill": 40_000 * slow, "index": 30_000, "schedule_per_prompt": 5_000 * slow}
               for slow in (3, 1, 2, 1, 4, 2)]  # fmt: skip
    engine = measured.engine | {"runs": runs, "prefill": prompts}
    constants = fit_constants(measured)
    found = fit_engine.lean(replace(measured, engine=engine), constants)
    launch = round(1000 * constants["launch_call"].value)
    for kind in ("gemm", "norm", "argmax", "store"):
        assert parse_duration(found["framework"]["by_kind"][kind]) == pytest.approx(alone[kind] - launch, rel=0.03)
    for part in ("receive", "schedule", "prepare", "process"):
        assert parse_duration(found["host"][part]["base"]) == pytest.approx(alone[part], rel=0.03)
        assert parse_duration(found["host"][part]["per_row"]) <= 40
    assert found["host"]["schedule"]["per_prompt"] == "5us"
    assert parse_duration(found["framework"]["by_kind"]["attention_prefill"]) == 40_000 - launch
    assert "lower quartile of 18 times" in found["framework"]["source"]


def test_what_a_step_takes_besides_its_launches_is_told_whatever_a_neighbour_does_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    from gpu.calibration import stopwatch

    now, slow = [0], [1]

    def clock() -> int:
        now[0] += 30  # reading it takes that long
        return now[0]

    def work(ns: int) -> None:
        now[0] += ns * slow[0]

    monkeypatch.setattr(stopwatch, "clock", clock)
    watch = stopwatch.Stopwatch()
    launches = [watch.wrap("gemm", partial(work, 9_000)), watch.wrap("norm", partial(work, 4_000))]
    spans = []
    for slow[0] in (1, 1, 4, 1, 2):
        start = now[0]
        now[0] += 25_000  # the step's inputs
        for launch in launches:
            launch()
        spans.append((start, now[0]))
    assert watch.besides(spans) == [25_000] * 5
    assert watch.times["gemm"] == [9_000, 9_000, 36_000, 9_000, 18_000]


def test_a_neighbour_shows_in_the_hosts_pace() -> None:
    ticks = iter(range(10**6))
    found = pace(0.0, lambda: 1_000 * next(ticks))
    assert found == {name: {"p10": 1.0, "p50": 1.0, "p90": 1.0} for name in ("arithmetic", "memory")}
    assert sentence(found) == "host's pace, p10/p50/p90: arithmetic 1/1/1 us, memory 1/1/1 us"
