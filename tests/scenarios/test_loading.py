"""Loading a scenario: what it refers to, overrides, digests, and everything that is shipped."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios import shelf
from scenarios.engine import EnginePreset, HostCost
from scenarios.errors import ScenarioError
from scenarios.loader import LoadedScenario, load_engine, load_model, load_profile, load_scenario
from scenarios.model import ModelShape, TimerModel
from scenarios.ops import Graph, Matmul, Repeat
from scenarios.program import Program
from scenarios.scenario import Serving
from scenarios.table import Table
from scenarios.training import Training
from scenarios.translation import validated


def serving(bench: Path, *overrides: str) -> tuple[LoadedScenario, Serving]:
    loaded = load_scenario(bench / "serving.toml", overrides)
    assert isinstance(loaded.scenario, Serving)
    return loaded, loaded.scenario


def test_a_scenario_brings_its_model_profile_and_engine(bench: Path) -> None:
    loaded, scenario = serving(bench)
    assert scenario.workload.batch == 4
    assert loaded.model == load_model("tiny")
    assert loaded.profile.constants.stream_gap.value == 1_500
    assert loaded.profile.kernels["gemm"].flops == 790_000_000_000_000
    schedule, framework = loaded.engine.host.schedule, loaded.engine.framework
    assert (schedule.base + 4 * schedule.per_row, framework.by_kind["gemm"], framework.default) == (
        108_000,
        5_000,
        3_000,
    )
    assert loaded.source == str(bench / "serving.toml")


def test_overrides_take_toml_values_bare_words_and_comma_lists(bench: Path) -> None:
    _, scenario = serving(
        bench,
        "title=2026-01-01",
        "workload.batch=32",
        "host.extra=2ms",
        "host.scale=0.5",
        "host.jitter=true",
        "engine.modes=serial-eager,overlap-eager",
        "engine.buckets=8, 16",
    )
    assert scenario.title == "2026-01-01"
    assert scenario.workload.batch == 32
    assert (scenario.host.extra, scenario.host.scale, scenario.host.jitter) == (2_000_000, 0.5, True)
    assert scenario.engine.modes == ("serial-eager", "overlap-eager")
    assert scenario.engine.buckets == (8, 16)


def test_one_item_is_a_list_and_a_toml_list_stays_one(bench: Path) -> None:
    _, scenario = serving(bench, 'engine.modes=["serial-eager"]', "engine.buckets=8")
    assert scenario.engine.modes == ("serial-eager",)
    assert scenario.engine.buckets == (8,)


def test_one_override_is_enough_to_change_the_form_of_the_workload(bench: Path) -> None:
    _, open_loop = serving(bench, "workload.rate=270/min")
    assert (open_loop.workload.batch, open_loop.workload.rate, open_loop.workload.requests) == (
        None,
        4.5,
        256,
    )
    (bench / "serving.toml").write_text(
        (bench / "serving.toml").read_text().replace("batch = 4", 'rate = "1/s", requests = 9')
    )
    _, closed = serving(bench, "workload.batch=2")
    assert (closed.workload.batch, closed.workload.rate, closed.workload.requests) == (2, None, None)


def test_two_forms_on_the_command_line_contradict_each_other(bench: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        serving(bench, "workload.batch=2", "workload.rate=1/s")
    assert str(caught.value) == "--set: workload.rate: found 1.0, expected no such key beside 'batch'"


def test_overrides_of_unknown_keys_and_through_values_are_refused(bench: Path) -> None:
    with pytest.raises(ScenarioError) as unknown:
        serving(bench, "workload.contxt=3", "engine.hist.schedule.base=1ms")
    assert str(unknown.value).splitlines() == [
        "--set: workload.contxt: unknown key; did you mean 'workload.context'?",
        "--set: engine.hist: unknown key; did you mean 'engine.host'?",
    ]
    with pytest.raises(ScenarioError) as through:
        serving(bench, "title.x=3", "workload.batch.y=3")
    assert str(through.value).splitlines() == [
        "--set: title.x: title is no table",
        "--set: workload.batch.y: workload.batch is no table",
    ]
    with pytest.raises(ScenarioError) as malformed:
        serving(bench, "workload.batch", "=3")
    assert str(malformed.value).splitlines() == [
        "--set: found 'workload.batch', expected key=value, such as workload.batch=32",
        "--set: found '=3', expected key=value, such as workload.batch=32",
    ]


def test_an_engine_override_keeps_the_rest_of_the_preset(bench: Path) -> None:
    loaded, _ = serving(bench, "engine.host.schedule.base=4ms", "engine.buckets=16", "engine.sample_in_graph=false")
    preset = load_engine(str(bench / "engine.toml"))
    assert loaded.engine.host.schedule == HostCost.model_validate(
        {"base": "4ms", "per_row": "2us", "source": "set by the scenario"}
    )
    assert loaded.engine.host.process == preset.host.process
    assert (loaded.engine.buckets, loaded.engine.sample_in_graph) == ((16,), False)
    assert loaded.engine.future_map == preset.future_map


def test_a_timer_may_stand_for_the_model(bench: Path) -> None:
    loaded, _ = serving(bench, 'model={kind="timer", step="10ms", per_row="3us"}')
    assert isinstance(loaded.model, TimerModel)
    assert (loaded.model.step, loaded.model.per_row) == (10_000_000, 3_000)


def test_a_config_replaces_the_model_but_not_in_a_program(bench: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 512,
    }
    path = bench / "config.json"
    path.write_text(json.dumps(config))
    model = load_scenario(bench / "serving.toml", model_config=path).model
    assert isinstance(model, ModelShape)
    assert (model.heads, model.kv_heads) == (4, 4)
    with pytest.raises(ScenarioError, match=r"config.json: a program has no model to replace"):
        load_scenario(bench / "program.toml", model_config=path)


def test_a_trace_lies_beside_the_scenario_or_in_the_working_directory(
    bench: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    for folder, name in ((bench, "both.csv"), (elsewhere, "both.csv"), (elsewhere, "far.jsonl")):
        (folder / name).write_text(f"{folder}")
    _, near = serving(bench, "workload.trace=both.csv")
    _, far = serving(bench, "workload.trace=far.jsonl")
    assert near.workload.trace == str(bench / "both.csv")
    assert far.workload.trace == str(elsewhere / "far.jsonl")


def test_the_digest_follows_content_and_nothing_else(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    digest = serving(bench)[0].digest
    copy = tmp_path_factory.mktemp("copy")
    for path in bench.iterdir():
        (copy / path.name).write_text(f"# moved\n{path.read_text()}")
    assert len(digest) == 12
    assert serving(copy)[0].digest == digest
    assert serving(bench, "workload.batch=4")[0].digest == digest
    assert serving(bench, "workload.batch=5")[0].digest != digest
    assert serving(bench, "engine.host.schedule.base=4ms")[0].digest != digest
    (copy / "profile.toml").write_text((copy / "profile.toml").read_text().replace('"1.5us"', '"1.6us"'))
    assert serving(copy)[0].digest != digest


def test_the_digest_of_a_trace_is_that_of_its_requests(bench: Path) -> None:
    (bench / "a.csv").write_text("0")
    (bench / "b.csv").write_text("0")
    digest = serving(bench, "workload.trace=a.csv")[0].digest
    assert serving(bench, "workload.trace=b.csv")[0].digest == digest
    (bench / "b.csv").write_text("1")
    assert serving(bench, "workload.trace=b.csv")[0].digest != digest


def test_a_dumped_profile_and_engine_load_again(bench: Path) -> None:
    tables: list[Table] = [load_profile(str(bench / "profile.toml")), load_engine(str(bench / "engine.toml"))]
    for table in tables:
        assert validated(type(table), json.loads(table.model_dump_json()), str) == table


@pytest.mark.parametrize(("name", "kind", "title"), shelf.list_scenarios())
def test_every_shipped_scenario_opens_with_what_it_shows_and_validates(name: str, kind: str, title: str) -> None:
    path = shelf.SCENARIOS.folder / f"{name}.toml"
    schemas: dict[str, type[Serving | Program | Training]] = {
        "serving": Serving,
        "program": Program,
        "training": Training,
    }
    scenario = validated(schemas[kind], shelf.read_toml(path, name), str)
    assert scenario.title == title
    assert path.read_text().startswith("# ")
    if isinstance(scenario, Serving) and isinstance(scenario.model, str):
        assert scenario.model in shelf.list_models()


def test_the_shipped_chain_is_a_hundred_products_in_one_graph() -> None:
    path = shelf.SCENARIOS.folder / "hundred-matmuls.toml"
    graph = validated(Program, shelf.read_toml(path, "x"), str).threads[0].ops[0]
    product = Matmul(op="matmul", m=256, n=256, k=256)
    assert graph == Graph(op="graph", ops=(Repeat(op="repeat", times=100, ops=(product,)),))


def test_every_shipped_model_profile_and_engine_validates_under_its_own_name() -> None:
    assert [load_model(name).name for name in shelf.list_models()] == shelf.list_models()
    assert [load_profile(name).name for name in shelf.list_profiles()] == shelf.list_profiles()
    assert [load_engine(name).name for name in shelf.list_engines()] == shelf.list_engines()


def test_an_unknown_model_profile_or_engine_is_refused_by_name() -> None:
    for load in (load_model, load_profile, load_engine):
        with pytest.raises(ScenarioError, match=r"nobody: no such file, expected a shipped .* or a path"):
            load("nobody")


def test_listing_what_is_shipped_takes_no_pydantic() -> None:
    code = "import sys, scenarios.shelf as s; s.list_scenarios(); print('pydantic' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert run.stdout == "False\n"


def test_an_error_crosses_processes_whole(bench: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        serving(bench, "workload.batch=0", "host.scale=-1")
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert str(copy) == str(caught.value)
    assert copy.problems == caught.value.problems


def test_a_preset_is_unchanged_by_empty_overrides(bench: Path) -> None:
    loaded, scenario = serving(bench)
    preset: EnginePreset = load_engine(str(bench / "engine.toml"))
    assert scenario.engine.applied_to(preset) == preset == loaded.engine
