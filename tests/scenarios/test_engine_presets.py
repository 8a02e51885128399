"""The shipped engine presets: the knobs in which engines differ, and the modes that they do not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import list_engines, load_engine, load_scenario

SERVING = 'kind = "serving"\ntitle = "t"\nmodel = "tiny"\n[workload]\nbatch = 2\ncontext = 8\noutput_tokens = 4\n'
OWN = ("lean", "pytorch")

KNOBS = {
    # host threads, steps in flight, loop, late rows on stop and length, copy back, future map, largest bucket
    "sglang-v0.4": (2, 2, "forward-thread", True, True, "forward", "ring", 160),
    "sglang-2025": (1, 2, "run-ahead", True, True, "forward", "ring", 256),
    "sglang": (1, 2, "run-ahead", True, True, "separate", "request-slot", 256),
    "mini-sglang": (1, 2, "run-ahead", True, False, "forward", "request-slot", 256),
    "vllm-v0-multistep": (1, 8, "multi-step", True, True, "separate", "request-slot", 256),
    "vllm-v1-async": (2, 2, "output-thread", True, False, "separate", "request-slot", 512),
    "tensorrt-llm": (1, 2, "late-sampling", True, False, "separate", "request-slot", 128),
    "chapter": (1, 2, "graphs-or-overlap", True, False, "separate", "ring", 256),
}


@pytest.mark.parametrize("name", KNOBS)
def test_the_knobs_of_an_engine(name: str) -> None:
    engine = load_engine(name)
    assert KNOBS[name] == (
        engine.overlap.host_threads, engine.overlap.steps_in_flight, engine.overlap.loop, engine.late_stop_token,
        engine.late_stop_length, engine.copy_stream, engine.future_map, engine.buckets[-1],
    )  # fmt: skip


def test_serial_engines_say_why_they_do_not_overlap() -> None:
    for name in ("nano-vllm", "vllm-v1"):
        engine = load_engine(name)
        assert engine.lacks("overlap-graph") == engine.missing["overlap"]
        assert engine.lacks("serial-graph") is None
    assert set(list_engines()) == {*OWN, *KNOBS, "nano-vllm", "vllm-v1"}


def test_host_costs_without_a_source_are_those_of_our_measured_scheduler_and_are_said_to_be() -> None:
    lean = load_engine("lean")
    for name in set(list_engines()) - set(OWN):
        engine = load_engine(name)
        assert (engine.host, engine.framework) == (lean.host, lean.framework)
        assert "host costs: those of lean" in engine.source


def scenario(tmp_path: Path, text: str = SERVING) -> str:
    path = tmp_path / "s.toml"
    path.write_text(text)
    return str(path)


def test_a_mode_that_the_engine_does_not_have_is_left_out_with_the_reason(tmp_path: Path) -> None:
    loaded = load_scenario(scenario(tmp_path), ["engine.preset=nano-vllm"])
    assert loaded.modes == ("serial-eager", "serial-graph")
    assert set(loaded.missing) == {"overlap-eager", "overlap-graph"}
    assert "tolist" in loaded.missing["overlap-graph"]


def test_a_scenario_in_modes_that_the_engine_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"engine.modes: nano-vllm has none of overlap-graph: each step ends in"):
        load_scenario(scenario(tmp_path), ["engine.preset=nano-vllm", "engine.modes=overlap-graph"])


def test_masks_take_all_modes_from_an_engine_without_them(tmp_path: Path) -> None:
    changes = ["engine.preset=mini-sglang", "engine.host.mask.base=50us"]
    with pytest.raises(ScenarioError, match="it has no grammars"):
        load_scenario(scenario(tmp_path), changes)
    loaded = load_scenario(scenario(tmp_path), ["engine.preset=sglang", "engine.host.mask.per_row=5us"])
    assert loaded.engine.host.mask is not None
    assert (loaded.engine.host.mask.base, loaded.engine.host.mask.per_row) == (0, 5_000)


def test_a_scenario_changes_one_knob_of_the_overlap(tmp_path: Path) -> None:
    changes = ["engine.preset=vllm-v0-multistep", "engine.overlap.late_outputs=true"]
    overlap = load_scenario(scenario(tmp_path), changes).engine.overlap
    assert (overlap.loop, overlap.steps, overlap.late_outputs, overlap.steps_in_flight) == ("multi-step", 8, True, 16)


def test_a_preset_of_ones_own_extends_a_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\ntitle = "t"\nsource = "me"\nextends = "lean"\n[host.process]\nbase = "1ms"\n')
    engine, lean = load_engine(str(own)), load_engine("lean")
    assert engine.host.process.base == 1_000_000
    assert engine.host.process.per_row == lean.host.process.per_row
    assert (engine.name, engine.buckets) == ("own", lean.buckets)


def test_a_preset_that_extends_nothing_known_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\ntitle = "t"\nsource = "me"\nextends = "leen"\n')
    with pytest.raises(ScenarioError, match="extends: found 'leen', expected"):
        load_engine(str(own))


def test_a_scenario_replaces_what_an_operation_costs(tmp_path: Path) -> None:
    lean = load_engine("lean").framework
    plain = load_scenario(scenario(tmp_path), []).engine.framework
    assert plain == lean
    one = load_scenario(scenario(tmp_path), ["engine.framework.by_kind.gemm=9us"]).engine.framework
    assert one.by_kind == {**lean.by_kind, "gemm": 9_000}
    alike = load_scenario(scenario(tmp_path), ["engine.framework.default=26us"]).engine.framework
    assert (alike.default, alike.by_kind, alike.source) == (26_000, {}, "set by the scenario")
