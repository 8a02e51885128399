"""Training steps against closed forms, with costs of a file of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import LoadedScenario, load_scenario
from scenarios.training import TrainingKernel
from sim.program.training import chunks, duration, tensors
from sim.studies.program import program_metrics, run_program

LONG, SHORT = "100us", "1us"
COSTS = """\
name = "test"
source = "made up"
graph_gap = "200ns"
forward = [{{ name = "up", points = [[64, 16, "{ns}"], [64, 64, "{ns}"], [256, 16, "{ns}"], [256, 64, "{ns}"]] }}]
loss = [{{ name = "mean", points = [[64, 16, "{ns}"], [64, 64, "{ns}"], [256, 16, "{ns}"], [256, 64, "{ns}"]] }}]
backward = [
  {{ name = "down", points = [[64, 16, "{ns}"], [64, 64, "{ns}"], [256, 16, "{ns}"], [256, 64, "{ns}"]] }},
  {{ name = "weights", points = [[64, 16, "{ns}"], [64, 64, "{ns}"], [256, 16, "{ns}"], [256, 64, "{ns}"]] }},
]
first = [
  {{ name = "down", points = [[64, 16, "{ns}"], [64, 64, "{ns}"], [256, 16, "{ns}"], [256, 64, "{ns}"]] }},
  {{ name = "weights", points = [[64, 16, "{ns}"], [64, 64, "{ns}"], [256, 16, "{ns}"], [256, 64, "{ns}"]] }},
]
accumulate = [{{ name = "add", points = [[64, 16, "{ns}"], [64, 64, "{ns}"], [256, 16, "{ns}"], [256, 64, "{ns}"]] }}]
[optimizer.adamw]
tensors = 36
points = [[1, "{ns}"], [320, "{ns}"]]
[host]
zero = {{ base = "30us" }}
forward = {{ base = "0us", per_layer = "20us" }}
loss = {{ base = "15us" }}
backward = {{ base = "0us", per_layer = "24us" }}
accumulate = {{ base = "0us", per_layer = "10us" }}
adamw = {{ base = "40us" }}
"""
SCENARIO = """\
kind = "training"
title = "Training"
hidden = 64
layers = 3
rows = 16
costs = "costs.toml"
"""
LAYERS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    return tmp_path


def loaded(folder: Path, ns: str, *changes: str) -> LoadedScenario:
    (folder / "costs.toml").write_text(COSTS.format(ns=ns))
    return load_scenario(folder / "scenario.toml", changes)


def a_step(folder: Path, ns: str, mode: str, *changes: str) -> int:
    """What one more step adds, after the pipeline has filled."""
    few, more = (
        program_metrics(run_program(loaded(folder, ns, f"steps={steps}", *changes), mode)).total_ns
        for steps in (20, 21)
    )
    return more - few


def test_an_eager_step_of_short_kernels_takes_what_its_host_takes(folder: Path) -> None:
    assert a_step(folder, SHORT, "eager") == 30_000 + LAYERS * (20_000 + 24_000) + 15_000 + 40_000


def test_an_eager_step_of_long_kernels_takes_what_its_kernels_and_their_gaps_take(folder: Path) -> None:
    kernels = 3 * LAYERS + 2
    gap = loaded(folder, LONG).profile.constants.stream_gap.value
    assert a_step(folder, LONG, "eager") == kernels * (100_000 + gap)


@pytest.mark.parametrize(("mode", "in_graph"), [("graph-step", 3 * LAYERS + 2), ("graph-gradients", 3 * LAYERS + 1)])
def test_a_captured_step_has_the_gaps_of_a_graph_inside_and_of_replays_or_a_stream_outside(
    folder: Path, mode: str, in_graph: int
) -> None:
    constants = loaded(folder, LONG).profile.constants
    outside = constants.replay_gap.value if mode == "graph-step" else 2 * constants.stream_gap.value
    gaps = (in_graph - 1) * 200 + outside
    assert a_step(folder, LONG, mode) == (3 * LAYERS + 2) * 100_000 + gaps


def test_later_micro_batches_add_their_gradients(folder: Path) -> None:
    once, thrice = (a_step(folder, LONG, "graph-step", f"accumulate={n}") for n in (1, 3))
    assert thrice - once == 2 * (3 * LAYERS + 1 + LAYERS) * (100_000 + 200)


def test_a_slower_host_scales_an_eager_step_and_leaves_a_captured_one(folder: Path) -> None:
    assert a_step(folder, SHORT, "eager", "host.scale=2") == 2 * a_step(folder, SHORT, "eager")
    assert a_step(folder, LONG, "graph-step", "host.scale=2") == a_step(folder, LONG, "graph-step")


def test_a_host_that_launches_slower_at_the_moment_is_slower_in_all_phases(folder: Path) -> None:
    loaded(folder, SHORT)
    path = folder / "costs.toml"
    path.write_text(path.read_text() + '[reference]\ngemm = "10us"\nnorm = "5us"\n')
    one = load_scenario(folder / "scenario.toml", ["steps=50"])
    usual, slow = (
        program_metrics(run_program(one, "eager", numbers=numbers)).total_ns
        for numbers in (None, {"gemm": 20_000, "norm": 10_000, "memcpy": 1})
    )
    assert slow == pytest.approx(2 * usual, rel=1e-3)


def test_durations_are_exact_on_the_grid_and_powers_between() -> None:
    # rows * width, at the corners of a grid: a product is a straight line between logarithms
    kernel = TrainingKernel.model_validate(
        {"name": "k", "points": [[w, r, f"{w * r}ns"] for w in (64, 256) for r in (16, 1024)]}
    )
    assert duration(kernel, 64, 1024) == 64 * 1024
    assert duration(kernel, 128, 100) == pytest.approx(12_800)


def test_chunks_are_dealt_as_torch_deals_them() -> None:
    assert chunks([65536, 65537, 1], 36) == [4]
    assert chunks([1] * 80, 36) == [36, 36, 8]
    assert chunks([65536 * 400, 65536 * 250], 36) == [320, 320, 10]
    # the tensor that a full kernel cuts is the next one's first
    assert chunks([65536 * 321, *[1] * 40], 36) == [320, 36, 5]
    # kernels of torch 2.11's fused AdamW on four blocks, seen by the profiler less the one that counts steps
    assert [len(chunks(tensors(hidden, 4), 36)) for hidden in (256, 512, 1024, 2048, 4096)] == [1, 1, 2, 7, 26]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("hidden=512", "hidden: found 512, expected 64 to 256"),
        ("rows=8", "rows: found 8, expected 16 to 64"),
        ("optimizer=sgd", "optimizer: found 'sgd', which test was not measured with"),
    ],
)
def test_sizes_that_were_not_measured_are_refused(folder: Path, change: str, expected: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        run_program(loaded(folder, SHORT, change), "eager")
    assert expected in str(refused.value.problems[0])


def test_an_incomplete_grid_is_refused(folder: Path) -> None:
    text = COSTS.format(ns=SHORT).replace('[64, 16, "1us"], ', "", 1)
    (folder / "costs.toml").write_text(text)
    with pytest.raises(ScenarioError, match="one for each width and each number of rows"):
        load_scenario(folder / "scenario.toml")
