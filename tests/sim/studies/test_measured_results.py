"""Tables of repeated runs: the one in the median, its noise, and '-' for what a run does not tell."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from serving_worlds import tiny

from scenarios.loader import load_scenario
from sim.serving.batch import Batch, Outputs, Phase
from sim.studies.files import write_files
from sim.studies.noise import noise
from sim.studies.report import print_results
from sim.studies.results import Measured, results_of
from sim.timeline.spans import Kind, Place, Recorder, Timeline

MACHINE = Measured("cuda", "A GPU", "2.11.0", "2026-11-24", 5)


def printed(timelines: list[Timeline], scenario: str = "program") -> list[str]:
    loaded = load_scenario("launch-chain", ["modes=eager"]) if scenario == "program" else tiny("engine.modes=naive")
    out = io.StringIO()
    results = results_of(loaded, 0, {"eager" if scenario == "program" else "naive": timelines}, MACHINE)
    results.notes.append("a note")
    print_results(Console(file=out, width=120), results)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def program(total_us: int, *, device: bool = False) -> Timeline:
    """One launch of a microsecond and a wait until the end; a kernel in between if the device keeps spans."""
    recorder = Recorder()
    host = recorder.track("main", Place.HOST_THREAD)
    recorder.span(host, 0, 1000, Kind.CALL, recorder.name("launch"), 1)
    recorder.span(host, 1000, total_us * 1000, Kind.WAIT, recorder.name("wait"))
    if device:
        recorder.span(recorder.track("main", Place.STREAM), 1000, 5000, Kind.KERNEL, recorder.name("k"), 1)
    return recorder.timeline()


def serving(step_us: int) -> Timeline:
    """Nine deliveries of a full batch at equal intervals, by a host whose launches nobody counted."""
    recorder = Recorder()
    host = recorder.track("scheduler", Place.HOST_THREAD)
    for number in range(1, 10):
        recorder.span(host, 0, 1000, Kind.CALL, recorder.name("launch"), 0, number)
        recorder.emit(Outputs(Batch(number, Phase.DECODE, 2, 2, 8, ()), 2), number * step_us * 1000)
    return recorder.timeline()


def test_noise_is_half_the_range_from_the_tenth_to_the_ninetieth_percentile() -> None:
    assert noise([5, 1, 2, 4, 3]) == pytest.approx((4.6 - 1.4) / 2)
    assert noise([7]) == 0


def test_the_run_in_the_median_is_shown_with_the_noise_of_all() -> None:
    loaded = load_scenario("launch-chain", ["modes=eager"])
    runs = [program(us) for us in (40, 10, 20, 50, 30)]
    results = results_of(loaded, 0, {"eager": runs}, MACHINE)
    assert results.timelines["eager"] is runs[4]
    found = results.modes["eager"]
    assert (found["total_us"], found["noise_us"], found["repeats_us"]) == (30, 16, [40, 10, 20, 50, 30])
    assert results.as_json()["measured"]["device"] == "A GPU"


def test_a_prediction_has_neither_noise_nor_repeats() -> None:
    results = results_of(load_scenario("launch-chain", ["modes=eager"]), 0, {"eager": [program(30)]})
    assert not {"noise_us", "repeats_us"} & set(results.modes["eager"])
    assert "measured" not in results.as_json()


def test_a_program_without_device_spans_has_no_device_columns() -> None:
    _, where, header, row, note = printed([program(30)])
    assert where == "measured on A GPU, torch 2.11.0, 2026-11-24, median of 5 runs"
    assert header.split() == ["mode", "total", "noise", "host", "device", "launches", "kernels", "speedup"]
    assert row.split() == ["eager", "30.00", "us", "0.00", "us", "1.00", "us", "-", "1", "-", "1.00x"]
    assert note == "a note"
    assert printed([program(30, device=True)])[3].split()[7:] == ["4.00", "us", "1", "1", "1.00x"]


def test_a_serving_run_without_device_spans_has_no_device_columns() -> None:
    _, _, _, row, _ = printed([serving(us) for us in (100, 300, 200)], "serving")
    assert row.split() == ["naive", "200.0", "us", "80.00", "us", "10,000", "-", "-", "1.00x"]


def test_a_run_without_device_spans_can_be_written_and_drawn(tmp_path: Path) -> None:
    results = results_of(tiny("engine.modes=naive"), 0, {"naive": [serving(100)]}, MACHINE)
    summary, trace, picture = write_files(tmp_path, results)
    assert json.loads(summary.read_text())["modes"]["naive"]["device_busy"] is None
    assert json.loads(trace.read_text())["otherData"]["measured"] == "A GPU, torch 2.11.0, 2026-11-24"
    assert picture.read_bytes().startswith(b"\x89PNG")
