"""What a case says of its prediction: times and parts in literal numbers, and which runs are the same run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scenarios.loader import LoadedScenario, load_scenario
from scenarios.suite import Configuration
from sim.studies.serving import ServingRun
from sim.studies.validation.cases import case_of, is_finished, predicted_again
from sim.studies.validation.digest import run_digest
from sim.studies.validation.predict import predict, quantity_of
from sim.studies.validation.results_file import Parts, ResultsFile

FREE = ("engine.preset=lean", "workload.output_tokens=12")


def timers(*overrides: str) -> LoadedScenario:
    return load_scenario("sleep-overlap", (*FREE, *overrides))


def configuration(*overrides: str, scenario: str = "sleep-overlap") -> Configuration:
    loaded = load_scenario(scenario, overrides)
    return Configuration(scenario, overrides, loaded.modes, loaded)


def test_the_parts_of_a_timer_are_its_host_work_its_calls_and_its_kernel() -> None:
    constants = timers().profile.constants
    framework = timers().engine.framework.by_kind  # a timer's kernel has no kind of its own
    framed = timers().engine.framework.default + framework["event_record"]
    calls = constants.launch_call.value + constants.event_record_call.value + framed
    for mode in ("serial-eager", "overlap-eager"):
        found = predict(timers(), mode)
        assert found.parts == Parts(host_ns=6_000_000, launch_ns=calls, device_ns=10_000_000)
    assert quantity_of(timers()) == "step"
    step = predict(timers(), "serial-eager").ns
    waited = (constants.launch_call, constants.launch_latency, constants.wake_spin)
    assert step == 16_000_000 + timers().engine.framework.default + sum(c.value for c in waited)


def test_the_parts_of_a_program_are_its_totals() -> None:
    loaded = load_scenario("launch-chain", ("count=3",))
    eager, graph = (predict(loaded, mode) for mode in loaded.modes)
    assert quantity_of(loaded) == "total"
    framework = loaded.engine.framework
    gemm = framework.by_kind.get("gemm", framework.default)
    assert eager.parts.device_ns == graph.parts.device_ns
    assert eager.parts.launch_ns == 3 * (gemm + loaded.profile.constants.launch_call.value)
    assert graph.parts.launch_ns < eager.parts.launch_ns
    assert eager.parts.host_ns == graph.parts.host_ns == 0


def test_host_numbers_price_the_second_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice_as_slow(run: ServingRun, numbers: dict[str, int]) -> ServingRun:
        assert numbers == {"launch": 7}
        return replace(run, scale=2.0)

    monkeypatch.setattr(ServingRun, "with_host_numbers", twice_as_slow)
    one = case_of(configuration(*FREE), "serial-eager", [17_000_000] * 5, {"launch": 7})
    assert one.predicted_in_process_ns is not None
    assert 22_000_000 < one.predicted_in_process_ns < 22_100_000  # 10 ms on the device, 2 x 6 on the host
    assert 16_000_000 < one.predicted_ns < 16_050_000
    assert one.in_process == {"launch": 7}


def test_host_numbers_price_programs_too() -> None:
    chain = configuration(scenario="launch-chain")
    found = case_of(chain, "eager", [1], {"gemm": 40_000})
    assert found.predicted_in_process_ns is not None
    assert 4_000_000 < found.predicted_in_process_ns < 4_020_000  # a hundred launches
    assert found.predicted_ns == case_of(chain, "eager", [1], {}).predicted_ns


def test_numbers_of_prompts_price_prompts_and_what_has_none_keeps_its_price() -> None:
    run = ServingRun.of(load_scenario("open-qwen3-0.6b"))
    host, plain = run.engine.host, {"gemm": 9_000, "schedule": 5_000, "schedule_per_row": 40, "receive": 2_000}
    prompts = {"attention_prefill": 90_000, "schedule_per_prompt": 70_000, "schedule_per_token": 30}
    prompts |= {"receive_per_request": 11_000}
    without, found = run.with_host_numbers(plain), run.with_host_numbers(plain | prompts)
    assert without.engine.framework.by_kind["attention_prefill"] == run.engine.framework.by_kind["attention_prefill"]
    assert found.engine.framework.by_kind["attention_prefill"] == 90_000 - 9_000  # the thinnest launch is the bare one
    assert (without.engine.host.schedule.per_prompt, without.engine.host.receive.per_row) == (
        host.schedule.per_prompt, host.receive.per_row,
    )  # fmt: skip
    schedule = found.engine.host.schedule
    assert (schedule.base, schedule.per_row, schedule.per_token, schedule.per_prompt) == (5_000, 10, 30, 70_000)
    assert found.engine.host.receive.per_row == 11_000


QWEN = "decode-qwen3-0.6b"
SAME = [
    ("title", ("title=Another",)),
    ("modes", ("engine.modes=serial-graph",)),
    ("another bucket that is not used", ("engine.buckets=[16, 32]",)),
    ("a limit of an open loop", ("engine.max_batch=512",)),
    ("what a step of the host costs", ("engine.host.schedule.base=1ms",)),
]
OTHER = [
    ("batch", ("workload.batch=15",)),
    ("tokens", ("workload.output_tokens=65",)),
    ("bucket", ("engine.buckets=[24]",)),
    ("a slower host", ("host.scale=2",)),
    ("added work", ("host.extra=1us",)),
    ("model", ("model=tiny",)),
    ("knob", ("engine.future_map=request-slot",)),
    ("open loop", ("workload.rate=9/s",)),
]


@pytest.mark.parametrize(("what", "overrides"), SAME)
def test_what_only_a_prediction_reads_does_not_make_another_run(what: str, overrides: tuple[str, ...]) -> None:
    assert run_digest(load_scenario(QWEN, overrides)) == run_digest(load_scenario(QWEN)), what


@pytest.mark.parametrize(("what", "overrides"), OTHER)
def test_what_the_hardware_does_makes_another_run(what: str, overrides: tuple[str, ...]) -> None:
    assert run_digest(load_scenario(QWEN, overrides)) != run_digest(load_scenario(QWEN)), what


def test_a_timer_waits_out_its_host_costs_so_they_make_another_run() -> None:
    assert run_digest(timers()) != run_digest(timers("engine.host.schedule.base=1ms"))


def test_the_buckets_and_limits_of_an_open_loop_make_another_run() -> None:
    base = run_digest(load_scenario(QWEN, ("workload.rate=9/s",)))
    assert base != run_digest(load_scenario(QWEN, ("workload.rate=9/s", "engine.max_batch=8")))
    assert base != run_digest(load_scenario(QWEN, ("workload.rate=9/s", "engine.buckets=[8]")))


def test_a_configuration_is_finished_when_every_mode_is_there_as_it_is_now() -> None:
    one = configuration(*FREE)
    cases = [case_of(one, mode, [1], {}) for mode in one.modes]
    assert is_finished(one, cases)
    assert not is_finished(one, cases[1:])
    assert not is_finished(configuration(*FREE, "model.step=9ms"), cases)
    assert not is_finished(one, [c.model_copy(update={"digest": "older"}) for c in cases])


def test_predicting_again_keeps_the_measurements() -> None:
    one = configuration(*FREE)
    cases = tuple(case_of(one, mode, [16_000_000, 17_000_000], {}) for mode in one.modes)
    stale = ResultsFile(provenance={}, cases=tuple(c.model_copy(update={"predicted_ns": 5}) for c in cases))
    assert predicted_again(stale).cases == cases
