"""The shipped presets, run: what each knob does to a small world whose every figure is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.loader import list_engines, load_scenario
from sim.cli import main
from sim.studies.results import predict_modes
from sim.studies.serving import ServingRun
from sim.timeline.metrics import step_metrics

TIMER = """
kind = "serving"
title = "Timers"
model = { kind = "timer", step = "1ms" }
[workload]
batch = 2
context = 1
output_tokens = 40
[engine]
modes = ["serial-eager", "overlap-eager"]
host.receive = { base = "0ns", per_row = "0ns", per_token = "0ns" }
host.schedule = { base = "200us", per_row = "0ns", per_token = "0ns" }
host.prepare = { base = "0ns", per_row = "0ns", per_token = "0ns" }
host.process = { base = "100us", per_row = "0ns", per_token = "0ns" }
"""


@pytest.fixture
def timer(tmp_path: Path) -> str:
    path = tmp_path / "timer.toml"
    path.write_text(TIMER)
    return str(path)


def step_us(timer: str, *changes: str, mode: str = "overlap-eager") -> float:
    results = predict_modes(load_scenario(timer, [*changes]))
    found: float = results.modes[mode]["step_us"]
    return found


@pytest.mark.parametrize("engine", sorted(set(list_engines()) - {"nano-vllm", "vllm-v1", "vllm-v0-multistep"}))
def test_on_a_device_bound_timer_every_overlap_hides_the_host(timer: str, engine: str) -> None:
    assert step_us(timer, f"engine.preset={engine}") == pytest.approx(1000, rel=0.002)


def test_rounds_of_8_steps_pay_the_scheduler_once_and_process_at_their_end(timer: str) -> None:
    step = step_us(timer, "engine.preset=vllm-v0-multistep")
    assert step == pytest.approx(1000 + 200 / 8 + 100, rel=0.005)
    hidden = step_us(timer, "engine.preset=vllm-v0-multistep", "engine.overlap.late_outputs=true")
    assert hidden == pytest.approx(1000, rel=0.002)


@pytest.mark.parametrize(
    ("engine", "wasted"),
    [("sglang", 2), ("sglang-v0.4", 2), ("mini-sglang", 0), ("tensorrt-llm", 0), ("vllm-v0-multistep", 0)],
)
def test_ends_by_length_cost_a_row_where_the_engine_does_not_foresee_them(timer: str, engine: str, wasted: int) -> None:
    changes = [f"engine.preset={engine}"]
    timeline = ServingRun.of(load_scenario(timer, changes)).timeline("overlap-eager")
    assert step_metrics(timeline).late_rows == wasted  # 40 tokens are 5 rounds of 8


def test_masks_lie_between_logits_and_sampling_or_switch_overlap_off(timer: str) -> None:
    masks = "engine.host.mask.base=1500us"
    late = step_us(timer, "engine.preset=sglang", masks)
    assert late == pytest.approx(1500 + 200 + 100, rel=0.02)  # the host's own cycle: the sampling waits for it
    off = step_us(timer, "engine.preset=sglang", masks, "engine.overlap.masks=serial")
    serial = step_us(timer, "engine.preset=sglang", masks, mode="serial-eager")
    assert off == serial == pytest.approx(200 + 1500 + 100, rel=0.02)
    naive = step_us(timer, "engine.modes=naive", masks, mode="naive")
    assert naive == pytest.approx(200 + 1000 + 1500 + 100, rel=0.02)  # one after the other
    shorter = "engine.host.mask.base=150us"
    assert step_us(timer, "engine.preset=sglang-v0.4", shorter) == pytest.approx(1000, rel=0.02)


def test_without_padding_only_a_bucket_s_own_size_replays_a_graph() -> None:
    changes = ["engine.preset=tensorrt-llm", "workload.output_tokens=10", "engine.modes=serial-graph"]

    def launches(batch: int) -> float:
        results = predict_modes(load_scenario("decode-qwen3-0.6b", [*changes, f"workload.batch={batch}"]))
        found: float = results.modes["serial-graph"]["launches"]
        return found

    assert launches(32) < 10
    assert launches(33) > 300


def test_a_missing_mode_is_null_with_its_reason(timer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", timer, "--set", "engine.preset=nano-vllm", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["modes"]["overlap-eager"] is None
    assert "tolist" in found["missing"]["overlap-eager"]
    assert main(["run", timer, "--set", "engine.preset=nano-vllm"]) == 0
    assert "overlap-eager: nano-vllm has none: each step ends in .tolist()" in capsys.readouterr().out


def test_idle_time_of_two_threads_adds_up() -> None:
    changes = ["engine.preset=sglang-v0.4", "workload.output_tokens=12", "engine.modes=overlap-eager"]
    found = step_metrics(ServingRun.of(load_scenario("decode-qwen3-0.6b", changes)).timeline("overlap-eager"))
    assert sum(found.idle.values()) + found.busy_ns == pytest.approx(found.step_ns)
    assert found.idle["wake_up"] > 100_000  # the lock passes between the threads several times a step
