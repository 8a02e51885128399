"""Where a step goes, and where a gain ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.loader import LoadedScenario, load_scenario
from sim.cli import main
from sim.studies.breakdown import Breakdown
from sim.studies.program import program_metrics, run_program
from sim.studies.results import predict_modes
from sim.studies.sweep.axes import Axis
from sim.timeline.metrics import HOST_PARTS


def loading(name: str, *overrides: str) -> Callable[[str], LoadedScenario]:
    return lambda override: load_scenario(name, [*overrides, *([override] if override else [])])


def test_the_hosts_parts_of_a_step_are_those_of_the_timer_and_add_up_to_the_step() -> None:
    found = Breakdown.of(loading("sleep-overlap"), None, predict_modes)
    serial, overlap = (found.points[0].results.modes[mode]["host"] for mode in ("serial-eager", "overlap-eager"))
    assert (serial["schedule"], serial["process"], serial["prepare"], serial["other"]) == (4000.0, 2000.0, 0.0, 0.0)
    assert (overlap["schedule"], overlap["process"]) == (4000.0, 2000.0)
    assert serial["wait"] > 9_990
    assert overlap["wait"] == pytest.approx(10_000 - 6000 - overlap["launch"], abs=15)
    for mode, host in (("serial-eager", serial), ("overlap-eager", overlap)):
        assert list(host) == list(HOST_PARTS)
        assert sum(host.values()) == pytest.approx(found.points[0].results.modes[mode]["step_us"], abs=0.01)


def test_waiting_for_requests_is_no_part_of_scheduling() -> None:
    loaded = load_scenario(
        "decode-qwen3-0.6b", ["model=tiny", "workload.rate=5/s", "workload.requests=4", "workload.output_tokens=2",
                              "engine.modes=serial-eager"]
    )  # fmt: skip
    host = predict_modes(loaded).modes["serial-eager"]["host"]
    assert host["other"] > 50 * sum(host[part] for part in HOST_PARTS if part != "other")


def test_the_size_at_which_a_graph_stops_paying_is_where_one_more_grain_gains_less_than_a_hundredth() -> None:
    load = loading("hundred-matmuls", "count=10")
    found = Breakdown.of(load, Axis.parse("n=1024,4096"), predict_modes)
    (told,) = found.findings()
    last = int(told.partition("up to n=")[2].partition(",")[0])

    def gain(n: int) -> float:
        eager, graph = (program_metrics(run_program(load(f"n={n}"), mode)).total_ns for mode in ("eager", "graph"))
        return eager / graph

    assert gain(last) >= 1.01 > gain(last + 64)
    assert 1024 < last < 4096


def test_a_gain_that_does_not_end_in_the_range_is_said_to_go_on() -> None:
    found = Breakdown.of(loading("launch-chain", "count=5"), Axis.parse("n=32,64"), predict_modes)
    assert list(found.findings()) == ["the graph gains 1 % or more at n=64"]


def test_breakdown_as_a_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "bars.png"
    varied = ["breakdown", "sleep-overlap", "--vary", "workload.batch=1,8"]
    assert main([*varied, "--json", "--out", str(picture)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [point["value"] for point in found["points"]] == ["1", "8"]
    assert found["findings"] == ["overlap-eager over serial-eager, what overlap gains: 1.60x at 1, 1.60x at 8"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(varied) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [
        "workload.batch", "mode", "step", "schedule", "prepare", "launch", "wait", "process", "device", "exposed",
        "speedup",
    ]  # fmt: skip
    assert lines[2].split()[:6] == ["1", "serial-eager", "16.01", "ms", "4.00", "ms"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--vary", "workload.batch"], "--vary: found 'workload.batch', expected KEY=A,B,C"),
        (["--vary", "workload.batch=0,1"], "workload.batch: found 0, expected an integer of at least 1"),
        (["--out", "bars.pdf"], "--out: found 'bars.pdf', expected a .png file in a folder that exists"),
    ],
)
def test_bad_input_is_refused_in_a_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["breakdown", "sleep-overlap", *words]) == 2
    assert told in capsys.readouterr().err
