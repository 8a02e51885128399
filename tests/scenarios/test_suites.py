"""Suites: what is shipped, what an entry expands to, and what is said of a bad one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.model import ModelShape
from scenarios.scenario import Serving
from scenarios.shelf import SUITES, list_suites
from scenarios.suite import Suite, load_suite

SMALL = """
kind = "suite"
title = "Small"
[[entries]]
scenario = "decode-qwen3-0.6b"
set = ["model=tiny"]
modes = ["serial-eager", "overlap-eager"]
vary = { "workload.batch" = [1, 4], "host.extra" = ["0ms", "2ms"] }
[[entries]]
scenario = "launch-chain"
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def problems(name: str, *overrides: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load_suite(name, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_an_entry_is_every_combination_of_what_it_varies(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, SMALL))
    assert (suite.name, suite.title, suite.num_cases) == ("mine", "Small", 4 * 2 + 2)
    assert [c.name for c in suite.configurations] == [
        "decode-qwen3-0.6b batch=1 extra=0ms model=tiny",
        "decode-qwen3-0.6b batch=1 extra=2ms model=tiny",
        "decode-qwen3-0.6b batch=4 extra=0ms model=tiny",
        "decode-qwen3-0.6b batch=4 extra=2ms model=tiny",
        "launch-chain",
    ]
    second = suite.configurations[1]
    assert second.set == ("workload.batch=1", "host.extra=2ms", "model=tiny")
    assert second.modes == ("serial-eager", "overlap-eager")
    assert isinstance(second.loaded.scenario, Serving)
    assert second.loaded.scenario.host.extra == 2_000_000
    assert suite.configurations[-1].modes == ("eager", "graph")


def test_keys_that_end_alike_are_told_apart_in_a_name() -> None:
    sets = ["engine.host.schedule.base=1ms", "engine.host.process.base=2ms", "host.extra=1ms"]
    (only,) = load_suite("sleep-overlap", sets).configurations
    assert only.name == "sleep-overlap engine.host.schedule.base=1ms engine.host.process.base=2ms extra=1ms"


def test_overrides_go_to_every_entry(tmp_path: Path) -> None:
    text = SMALL[: SMALL.rindex("[[entries]]")]
    suite = load_suite(written(tmp_path, text), ["workload.output_tokens=9"])
    assert all(c.loaded.scenario.workload.output_tokens == 9 for c in suite.configurations)  # type: ignore[union-attr]
    assert all(c.set[-1] == "workload.output_tokens=9" for c in suite.configurations)


def test_a_scenario_is_a_suite_of_one(tmp_path: Path) -> None:
    suite = load_suite("decode-qwen3-0.6b", ["model=tiny"])
    assert [(c.scenario, c.set, len(c.modes)) for c in suite.configurations] == [
        ("decode-qwen3-0.6b", ("model=tiny",), 4)
    ]
    own = 'kind = "serving"\ntitle = "Own"\nmodel = "tiny"\nworkload = { batch = 1, context = 1, output_tokens = 9 }\n'
    path = written(tmp_path, own, "own.toml")
    assert load_suite(path).title == "Own"
    assert (
        load_suite(written(tmp_path, SMALL.replace("decode-qwen3-0.6b", "own.toml"))).configurations[0].scenario == path
    )


def test_bad_suites_are_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    assert problems("h20") == [
        "h20: no such file, expected a shipped suite or scenario ('h200') or a path to a .toml file"
    ]
    path = written(tmp_path, SMALL.replace('"serial-eager",', '"serial-eagr",').replace("[1, 4]", "[1, 0]"))
    assert set(problems(path)) == {
        (
            f"{path}: entries[0].modes: found 'serial-eagr', "
            "expected one of the scenario's: serial-eager, serial-graph, overlap-eager, overlap-graph"
        ),
        f"{path}: entries[0]: --set: workload.batch: found 0, expected an integer of at least 1",
    }
    path = written(tmp_path, SMALL.replace("[1, 4]", "[]").replace('scenario = "launch-chain"', "scenari = 1"))
    found = problems(path)
    assert (
        f"{path}: entries[0].vary.workload.batch: found [], expected a list of values with at least one item" in found
    )
    assert f"{path}: entries[1].scenario: missing, expected a string" in found
    path = written(tmp_path, SMALL.replace('["0ms", "2ms"]', '["2ms", "2000us"]'))
    assert problems(path)[0].endswith("asks for the same runs as 'decode-qwen3-0.6b batch=1 extra=2ms model=tiny'")


@pytest.fixture(scope="module")
def h200() -> Suite:
    return load_suite("h200")


def test_every_shipped_suite_loads() -> None:
    shipped = ["chapter", "h200", "h200-serving", "laptop", "loops", "scheduling", "training"]
    assert [name for name, _ in list_suites()] == SUITES.names() == shipped
    assert load_suite("laptop").num_cases == 8


def test_the_suite_of_the_h200_covers_what_its_profile_is_trusted_for(h200: Suite) -> None:
    assert h200.num_cases == 170
    loaded = [c.loaded for c in h200.configurations]
    serving = [(one.scenario, one) for one in loaded if isinstance(one.scenario, Serving)]
    closed = [(s.workload, one) for s, one in serving if s.workload.batch is not None]
    models = {one.model.name for _, one in serving if isinstance(one.model, ModelShape)}
    assert models == {"qwen2.5-0.5b", "qwen3-0.6b", "llama-3.2-1b", "llama-3.1-8b"}
    batches = {1, 4, 8, 13, 16, 27, 32, 48, 64, 65, 68, 100, 128, 130, 160, 200, 256, 288}
    assert {w.batch for w, _ in closed} == batches
    assert {w.context for w, _ in closed} == {32, 128, 256, 512, 1024, 2048, 4096}
    assert {s.host.extra for s, _ in serving} == {0, 500_000, 2_000_000, 5_000_000}
    uneven = [(w.batch, max(one.engine.buckets)) for w, one in closed if w.batch not in one.engine.buckets]
    assert {batch for batch, largest in uneven if batch < largest} == {13, 27, 65, 68, 100, 130}  # padded
    assert {batch for batch, largest in uneven if batch > largest} == {100, 160, 288}  # eager in all modes
    assert sum(s.engine.overlap.loop == "forward-thread" for s, _ in serving) == 2
    assert sum(s.workload.clients is not None for s, _ in serving) == 3
    assert sum(s.workload.rate is not None for s, _ in serving) == 2
    assert {c.scenario for c in h200.configurations} >= {"two-streams", "hundred-matmuls"}


def test_models_follow_each_other_so_that_weights_change_seldom(h200: Suite) -> None:
    models = [c.loaded.model.name for c in h200.configurations if isinstance(c.loaded.model, ModelShape)]
    assert sum(a != b for a, b in itertools.pairwise(models)) == 3
