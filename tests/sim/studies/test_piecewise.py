"""Graphs captured in pieces: short prompts take fewer launches, on both virtual machines alike."""

from __future__ import annotations

from scenarios.loader import load_scenario
from sim.studies.serving import ServingRun
from sim.timeline.latency import Latencies
from sim.timeline.spans import Timeline

WORLD = [
    "model=tiny", "workload.clients=1", "workload.requests=4", "workload.context=40", "workload.output_tokens=3",
    "engine.preset=vllm-v1",
]  # fmt: skip


def timeline(*changes: str, machine: str = "auto") -> Timeline:
    loaded = load_scenario("decode-qwen3-0.6b", [*WORLD, *changes])
    return ServingRun.of(loaded, machine=machine).timeline("serial-graph")  # type: ignore[arg-type]


def test_a_short_prompt_is_sooner_in_pieces_and_a_long_one_is_not_captured() -> None:
    pieces, eager, above = (
        Latencies.of(timeline(*changes)).ttft.mean
        for changes in ([], ["engine.piecewise=[1]"], ["engine.piecewise=[8,16]"])
    )
    assert pieces < 0.75 * eager
    assert eager == above


def test_both_machines_replay_pieces_to_the_same_nanosecond() -> None:
    fast, reference = timeline(machine="fast"), timeline(machine="reference")
    assert [r.first for r in fast.served] == [r.first for r in reference.served]
    assert [d.time for d in fast.deliveries] == [d.time for d in reference.deliveries]
