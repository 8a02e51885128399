"""The chapter's claims: each is looked into by runs, and its verdict follows from their numbers."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
from chapter_labs import lab

from sim.cli import main, parser
from sim.studies.chapter.claim import Finding, Verdict
from sim.studies.chapter.claims import CLAIMS
from sim.studies.chapter.exercises import hierarchy
from sim.studies.chapter.graphs import GraphCost, gain_split, graph_cost
from sim.studies.chapter.overhead import crossover, step_parts
from sim.studies.chapter.phases import by_phase
from sim.studies.chapter.slots import five_steps, overrun
from sim.studies.step_prices import StepPrices
from sim.studies.why import step_time
from sim.timeline.metrics import IDLE_PARTS, busy_intervals, idle_by_cause

BY_NAME = {claim.name: claim for claim in CLAIMS}


@cache
def finding(name: str) -> Finding:
    return BY_NAME[name].look(lab())


def test_verdicts_are_for_all_for_some_or_for_none() -> None:
    assert [Verdict.of(cases) for cases in ([True, True], [True, False], {"a": False})] == [
        Verdict.HOLDS, Verdict.IN_PART, Verdict.FAILS,
    ]  # fmt: skip


def test_names_are_unique_and_every_command_can_be_typed() -> None:
    assert len(BY_NAME) == len(CLAIMS)
    for claim in CLAIMS:
        name, *words = shlex.split(claim.command)
        assert name == "overlapsim"
        parser().parse_args(words)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_has_a_prediction_and_a_reason(claim: object) -> None:
    found = finding(claim.name)  # type: ignore[attr-defined]
    assert found.predicted
    assert found.because
    assert found.numbers
    assert found.measured or not found.errors


def test_at_the_crossover_the_host_takes_longer_and_a_row_later_it_does_not() -> None:
    batch = crossover(lab(), "qwen3-0.6b", "lean")
    at, above = (step_parts(lab(), "qwen3-0.6b", "lean", rows) for rows in (batch, batch + 1))
    assert at.host >= at.device
    assert above.host < above.device
    assert finding("small-batches").numbers["lean qwen3-0.6b"] == batch


def test_a_serial_steps_parts_are_what_a_simulated_step_shows() -> None:
    run = lab().run("scheduling-overhead")
    parts = StepPrices(run, "serial-eager", context=512 + 16).parts(16, None)
    modes = lab().modes("scheduling-overhead", "workload.output_tokens=32")["serial-eager"]
    launched = modes["host"]["launch"]
    assert launched == pytest.approx(parts.launches / 1000, rel=0.01)
    assert sum(modes["host"][p] for p in ("schedule", "prepare", "process")) == pytest.approx(
        parts.work / 1000, rel=0.01
    )


def test_the_hierarchy_is_in_its_order_on_an_engine_that_launches_kernel_by_kernel() -> None:
    found = hierarchy(lab(), "decode-qwen3-0.6b", "engine.preset=pytorch")
    assert list(found) == ["replay", "overlapped", "normal", "naive"]
    assert list(found.values()) == sorted(found.values())
    assert found["replay"] < 10
    assert 1_000 < found["normal"] < found["naive"]


def test_exercise_three_gains_what_hiding_the_host_behind_the_device_can() -> None:
    assert finding("sleeping-batches").numbers["gain"] == pytest.approx((10 + 6) / 10, rel=0.01)


def test_the_command_prints_a_row_a_claim_and_counts_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chapter", "sleeping-batches"]) == 0
    printed = capsys.readouterr().out
    assert "Exercise 3" in printed
    assert printed.splitlines()[-1] == "1 claim: 1 holds, 0 in part, 0 not"
    assert main(["chapter", "sleeping-batches", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["claims"]
    assert row["verdict"] == "holds"
    assert row["command"] == "overlapsim run sleep-overlap --set hardware.profile=nvidia-h100"
    assert main(["chapter", "--names"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CLAIMS)


def test_a_claim_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chapter", "hierarhcy"]) == 2
    assert capsys.readouterr().err == "overlapsim: hierarhcy: no such claim, expected one of 'hierarchy'\n"


def test_what_a_graph_saves_is_the_sum_of_its_reasons_exactly() -> None:
    run = lab().run("decode-qwen3-0.6b", "workload.output_tokens=24")
    split = gain_split(run)
    assert split.launches + split.gaps + split.latency == split.gain
    assert split.gain == step_time(run, "serial-eager") - step_time(run, "serial-graph")
    gapless = gain_split(replace(run, constants=replace(run.constants, graph_gap=run.constants.stream_gap)))
    assert gapless.gaps == 0


def test_a_graph_pays_after_as_many_replays_as_its_capture_is_worth() -> None:
    cost = graph_cost(lab().run("decode-qwen3-0.6b", "workload.output_tokens=24"))
    assert cost.replays is not None
    spent = cost.capture + cost.first_replay
    assert cost.saved * (cost.replays - 1) < spent <= cost.saved * cost.replays
    assert GraphCost(1000, 0, Fraction(-1)).replays is None


def test_two_batches_in_flight_pass_their_tokens_by_slots() -> None:
    assert list(five_steps(capacity=6)) == [
        "1. batch 0 reserves slots [0, 1] of 6 for the tokens it will sample",
        "2. batch 1 is scheduled with inputs [-1, -2]: names of slots, no tokens",
        "3. batch 0 runs and stores its tokens: {0: 1000, 1: 1001}",
        "4. the resolve kernel turns [-1, -2] into [1000, 1001]",
        "5. batch 1 runs, and stores to slots [2, 3]",
        "   once both are processed their slots are free: batch 2 reserves [4, 5]",
    ]
    assert overrun(4) == "step 2 would overwrite slots 0..1 while step 0 still owns 0..1"
    assert overrun(6) is None


def test_exposed_host_time_is_split_by_phase_without_a_rest() -> None:
    run = lab().run("decode-qwen3-0.6b", "workload.rate=200/s", "workload.requests=12", "workload.output_tokens=8")
    timeline = run.timeline("serial-graph")
    found = by_phase(timeline)
    last = max(timeline.column("end")[timeline.on_device])
    first_end = min(
        int(timeline.column("end")[timeline.on_device & (timeline.column("step") == d.step)].max())
        for d in timeline.deliveries
    )
    idle = idle_by_cause(timeline, busy_intervals(timeline, first_end, int(last)), first_end, int(last))
    assert sum(part.steps for part in found.values()) == len(timeline.deliveries) - 1
    assert sum(part.steps * part.exposed for part in found.values()) == pytest.approx(
        sum(idle[cause] for cause in IDLE_PARTS[:6])
    )
    assert found["prefill"].busy > found["decode"].busy
