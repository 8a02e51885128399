"""Timelines as files: what is read back is what was written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.loader import load_scenario
from sim.studies.serving import ServingRun
from sim.timeline.columns import load_timeline, save_timeline
from sim.timeline.spans import Timeline

SETS = ["workload.rate=100/s", "workload.requests=4", "workload.output_tokens=4", "workload.stop_share=0.5"]


def test_a_timeline_comes_back_to_the_nanosecond_and_in_its_order(tmp_path: Path) -> None:
    timeline = ServingRun.of(load_scenario("decode-qwen3-0.6b", SETS)).timeline("overlap-graph")
    measured = replace(timeline, origin=12_345, clock_error=67)
    save_timeline(tmp_path / "one.npz", measured)
    back = load_timeline(tmp_path / "one.npz")
    assert (back.table == measured.table).all()
    assert back == measured


def test_a_timeline_without_spans_is_a_timeline(tmp_path: Path) -> None:
    run = replace(ServingRun.of(load_scenario("decode-qwen3-0.6b", SETS)), machine="fast")
    timeline: Timeline = run.timeline("serial-graph", spans=False)
    save_timeline(tmp_path / "one.npz", timeline)
    assert load_timeline(tmp_path / "one.npz").deliveries == timeline.deliveries


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    timeline = ServingRun.of(load_scenario("sleep-overlap", ["workload.output_tokens=3"])).timeline("serial-eager")
    broken = replace(timeline, machine=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        save_timeline(tmp_path / "one.npz", broken)
    assert not list(tmp_path.iterdir())
