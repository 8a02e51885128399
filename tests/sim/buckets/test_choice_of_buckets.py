"""Buckets for a workload: what graphs hold, what a list is judged by, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.loader import load_model, load_scenario
from sim.cli import main
from sim.studies.buckets.memory import BYTES_A_NODE, GraphMemory
from sim.studies.buckets.published import PUBLISHED
from sim.studies.buckets.study import BucketStudy, Limit
from sim.studies.serving import ServingRun
from sim.studies.why import step_time

CONVERSATION = Path(__file__).parents[4] / "shared" / "workloads" / "AzureLLMInferenceTrace_conv.csv"
OPEN = ("workload.rate=40/s", "workload.requests=60", "workload.output_tokens=40")


def run_of(*overrides: str, name: str = "decode-qwen3-0.6b") -> ServingRun:
    return ServingRun.of(load_scenario(name, overrides))


def test_graphs_hold_their_nodes_and_share_the_pool_of_the_largest() -> None:
    shape = load_model("llama-3.1-8b")
    memory = GraphMemory.of(shape, nodes=323)
    assert memory.a_graph == 323 * BYTES_A_NODE
    assert memory.a_row == 2 * (2 * 4096 + 128_256)  # the logits are the most that lives beside the residual
    assert memory.of_list((1, 8)) == 2 * memory.a_graph + 8 * memory.a_row
    assert GraphMemory.of(shape, 323, a_graph=14 << 20).held(2, 8) == (28 << 20) + 8 * memory.a_row


@pytest.mark.parametrize("mode", ["serial-graph", "overlap-graph"])
@pytest.mark.parametrize("rows", [1, 13, 64])
def test_prices_are_those_of_a_simulated_step(mode: str, rows: int) -> None:
    closed = run_of(
        f"workload.batch={rows}", "workload.context=500", "workload.output_tokens=30", "engine.buckets=[64]"
    )
    study = BucketStudy(closed, mode)
    simulated = float(step_time(closed, mode))
    assert study.prices.replayed(rows, 64) == pytest.approx(simulated, rel=0.02)


def test_steps_are_counted_by_rows_and_each_size_once_more() -> None:
    closed = run_of("workload.batch=13", "workload.output_tokens=30", "engine.max_batch=20")
    study = BucketStudy(closed, "serial-graph")
    assert study.demand.steps == {**dict.fromkeys(range(1, 21), 1), 13: 31}
    assert study.demand.context == 1024 + 15


def test_a_chosen_list_is_never_slower_by_its_own_prices_than_one_as_large() -> None:
    study = BucketStudy(run_of(*OPEN), "overlap-graph")
    for sizes in PUBLISHED.values():
        limit = Limit(len(sizes), study.memory.of_list(sizes))
        chosen = study.choose(limit)
        assert len(chosen.buckets) <= len(sizes)
        assert study.memory.of_list(chosen.buckets) <= study.memory.of_list(sizes)
        assert chosen.total_ns == study.predicted_ns(chosen.buckets) <= study.predicted_ns(sizes)


@pytest.mark.skipif(not CONVERSATION.exists(), reason="needs the Azure conversation trace beside the project")
def test_a_list_chosen_with_the_first_half_of_a_trace_beats_powers_of_two_in_the_second() -> None:
    common = (f"workload.trace={CONVERSATION}", "workload.rate_scale=2")
    first, second = (
        run_of(*common, f'workload.window=["{begin}s", "{begin + 40}s"]') for begin in (0, 1751)
    )  # fmt: skip
    study = BucketStudy(first, "overlap-graph")
    for name in ("powers of two", "every 8"):
        sizes = PUBLISHED[name]
        chosen = study.choose(Limit(len(sizes), study.memory.of_list(sizes))).buckets
        assert study.judge("chosen", chosen, second).tpot_mean < study.judge(name, sizes, second).tpot_mean


def test_the_command_prints_a_list_as_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["buckets", "decode-qwen3-0.6b", *(word for text in OPEN for word in ("--set", text))]
    assert main([*words, "--graphs", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["list", "graphs", "memory"]
    assert lines[-1].startswith("--set 'engine.buckets=[")
    assert main([*words, "--memory", "20MiB", "--graph-memory", "4MiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["judged"][1]["buckets"] == found["chosen"]
    assert len(found["chosen"]) <= 4
    assert found["judged"][1]["memory_bytes"] <= 20 << 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["decode-qwen3-0.6b", "--graphs", "0"], "--graphs: found 0, expected an integer of at least 1"),
        (["decode-qwen3-0.6b", "--memory", "2"], "--memory: found '2', expected a whole number of bytes with a unit"),
        (["decode-qwen3-0.6b", "--memory", "1KiB"], "--memory: found less than one graph of one row holds"),
        (["hundred-matmuls"], "kind: found 'program', expected a serving scenario"),
        (["sleep-overlap"], "model: found a timer, expected a model whose steps have rows"),
    ],
)
def test_bad_input_is_refused_in_a_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["buckets", *words]) == 2
    assert told in capsys.readouterr().err
