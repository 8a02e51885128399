"""The Chrome trace: what a profiler's reader finds in it, and that it appears whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.timeline.chrome import write_chrome_trace
from sim.timeline.spans import Kind, Place, Recorder, Timeline


def one_step(*, num_graph_kernels: int = 3) -> Timeline:
    """A step of one eager kernel, a graph and a copy back, all in flight while the host waits."""
    recorder = Recorder()
    host = recorder.track("scheduler", Place.HOST_THREAD)
    forward = recorder.track("forward", Place.STREAM)
    copies = recorder.track("copy", Place.STREAM)
    name, correlate = recorder.name, recorder.correlate
    eager, graph, copy = correlate(), correlate(), correlate()
    recorder.span(host, 0, 1_000, Kind.NO_WORK, name("idle"))
    recorder.span(host, 1_000, 3_000, Kind.HOST, name('"schedule"'), step=0)
    recorder.span(host, 3_000, 7_001, Kind.CALL, name("cudaLaunchKernel"), eager, step=0)
    recorder.span(host, 7_001, 12_000, Kind.CALL, name("cudaGraphLaunch"), graph, step=0)
    recorder.span(host, 12_000, 15_000, Kind.CALL, name("cudaMemcpyAsync"), copy, step=0)
    recorder.span(host, 15_000, 60_000, Kind.WAIT, name("cudaEventSynchronize"), step=0)
    recorder.span(forward, 8_000, 9_000, Kind.KERNEL, name("embed"), eager, step=0)
    recorder.span(forward, 13_000, 14_000, Kind.MEMSET, name("Memset"), graph, step=0)
    for i in range(num_graph_kernels):
        recorder.span(forward, 20_000 + 1_000 * i, 20_900 + 1_000 * i, Kind.KERNEL, name("gemm"), graph, step=0)
    recorder.span(copies, 50_000, 52_000, Kind.MEMCPY, name("Memcpy DtoH"), copy, step=0)
    return recorder.timeline()


def events(path: Path, runs: Mapping[str, Timeline]) -> list[dict[str, Any]]:
    write_chrome_trace(path, runs)
    trace = json.loads(path.read_text())
    found: list[dict[str, Any]] = trace["traceEvents"]
    return found


def test_spans_carry_the_profilers_categories(tmp_path: Path) -> None:
    spans = [e for e in events(tmp_path / "t.json", {"serial-graph": one_step()}) if e["ph"] == "X"]
    assert {(e["cat"], e["name"]) for e in spans} == {
        ("user_annotation", "idle"),
        ("user_annotation", '"schedule"'),
        ("cuda_runtime", "cudaLaunchKernel"),
        ("cuda_runtime", "cudaGraphLaunch"),
        ("cuda_runtime", "cudaMemcpyAsync"),
        ("cuda_runtime", "cudaEventSynchronize"),
        ("kernel", "embed"),
        ("kernel", "gemm"),
        ("gpu_memset", "Memset"),
        ("gpu_memcpy", "Memcpy DtoH"),
    }


def test_device_rows_say_where_they_ran_and_what_launched_them(tmp_path: Path) -> None:
    spans = {e["name"]: e for e in events(tmp_path / "t.json", {"serial-graph": one_step()}) if e["ph"] == "X"}
    assert spans["embed"]["args"] == {"device": 0, "stream": 1, "correlation": 1, "step": 0}
    assert spans["Memcpy DtoH"]["args"] == {"device": 0, "stream": 2, "correlation": 3, "step": 0}
    assert spans["cudaLaunchKernel"]["args"] == {"correlation": 1, "step": 0}
    assert spans["idle"]["args"] == {}


def test_every_launch_has_one_arrow_start_and_an_arrow_end_for_each_thing_it_launched(tmp_path: Path) -> None:
    runs = {"serial-graph": one_step(), "overlap-graph": one_step(num_graph_kernels=40)}
    found = events(tmp_path / "t.json", runs)
    starts = Counter(e["id"] for e in found if e["ph"] == "s")
    ends = Counter(e["id"] for e in found if e["ph"] == "f")
    assert starts == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1}
    assert ends == {1: 1, 2: 4, 3: 1, 4: 1, 5: 41, 6: 1}
    assert {(e["cat"], e["name"]) for e in found if e["ph"] in "sf"} == {("ac2g", "ac2g")}
    assert {e["bp"] for e in found if e["ph"] == "f"} == {"e"}


def test_an_arrow_starts_and_ends_at_the_start_of_a_span_of_its_own_row(tmp_path: Path) -> None:
    found = events(tmp_path / "t.json", {"serial-graph": one_step()})
    spans = {
        (e["pid"], e["tid"], e["ts"], e["args"]["correlation"])
        for e in found
        if e["ph"] == "X" and "correlation" in e["args"]
    }
    assert {(e["pid"], e["tid"], e["ts"], e["id"]) for e in found if e["ph"] in "sf"} == spans


def test_work_launched_before_the_window_has_no_arrow(tmp_path: Path) -> None:
    found = events(tmp_path / "t.json", {"serial-graph": one_step().window(16_000, 60_000)})
    assert [e["name"] for e in found if e["ph"] == "X"] == [
        "cudaEventSynchronize",
        "gemm",
        "gemm",
        "gemm",
        "Memcpy DtoH",
    ]
    assert not [e for e in found if e["ph"] in "sf"]


def test_modes_lie_under_each_other_in_the_order_given_host_above_device(tmp_path: Path) -> None:
    recorder = Recorder()
    for rank in (0, 1):
        recorder.track("worker", Place.HOST_THREAD, rank)
        recorder.track("forward", Place.STREAM, rank)
    runs = {"serial-eager": one_step(), "naive": one_step(), "overlap-eager": recorder.timeline()}
    found = [e for e in events(tmp_path / "t.json", runs) if e["ph"] == "M"]
    order = {e["pid"]: e["args"]["sort_index"] for e in found if e["name"] == "process_sort_index"}
    names = {e["pid"]: e["args"]["name"] for e in found if e["name"] == "process_name"}
    assert [names[pid] for pid in sorted(names, key=order.__getitem__)] == [
        "serial-eager host 0",
        "serial-eager GPU 0",
        "naive host 0",
        "naive GPU 0",
        "overlap-eager host 0",
        "overlap-eager GPU 0",
        "overlap-eager host 1",
        "overlap-eager GPU 1",
    ]
    gpu = next(pid for pid, name in names.items() if name == "serial-eager GPU 0")
    streams = [(e["tid"], e["args"]["name"]) for e in found if e["name"] == "thread_name" and e["pid"] == gpu]
    assert streams == [(1, "forward"), (2, "copy")]


def test_a_host_span_precedes_the_calls_inside_it(tmp_path: Path) -> None:
    recorder = Recorder()
    host = recorder.track("scheduler", Place.HOST_THREAD)
    recorder.span(host, 10, 20, Kind.CALL, recorder.name("inner"))
    recorder.span(host, 10, 90, Kind.HOST, recorder.name("outer"))
    found = events(tmp_path / "t.json", {"serial-eager": recorder.timeline()})
    assert [e["name"] for e in found if e["ph"] == "X"] == ["outer", "inner"]


@given(st.integers(0, 10**15), st.integers(0, 10**12))
def test_times_read_back_to_the_same_nanosecond(
    tmp_path_factory: pytest.TempPathFactory, start: int, duration: int
) -> None:
    recorder = Recorder()
    stream = recorder.track("forward", Place.STREAM)
    recorder.span(stream, start, start + duration, Kind.KERNEL, recorder.name("gemm"))
    path = tmp_path_factory.getbasetemp() / "times.json"
    (span,) = (e for e in events(path, {"serial-eager": recorder.timeline()}) if e["ph"] == "X")
    assert (round(span["ts"] * 1000), round(span["dur"] * 1000)) == (start, duration)


def test_the_head_says_what_the_numbers_mean(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_chrome_trace(path, {}, {"scenario": 'the "first"'})
    assert json.loads(path.read_text()) == {
        "schemaVersion": 1,
        "deviceProperties": [],
        "displayTimeUnit": "ms",
        "baseTimeNanoseconds": 0,
        "otherData": {"scenario": 'the "first"'},
        "traceEvents": [],
    }


def test_equal_timelines_give_equal_bytes_compressed_or_not(tmp_path: Path) -> None:
    for name in ("a.json", "b.json", "a.json.gz", "b.json.gz"):
        write_chrome_trace(tmp_path / name, {"serial-eager": one_step()})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == (tmp_path / "a.json").read_bytes()


class BreaksHalfway(dict[str, Timeline]):
    def items(self) -> Iterator[tuple[str, Timeline]]:  # type: ignore[override]
        yield "serial-eager", one_step()
        raise RuntimeError("no second mode")


@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_a_write_that_fails_midway_leaves_the_folder_as_it_was(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("the trace before")
    with pytest.raises(RuntimeError, match="no second mode"):
        write_chrome_trace(tmp_path / name, BreaksHalfway())
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {name: "the trace before"}


def test_a_span_before_time_zero_is_refused(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.span(recorder.track("forward", Place.STREAM), -5, 10, Kind.KERNEL, recorder.name("gemm"))
    with pytest.raises(ValueError, match="starts at -5 ns"):
        write_chrome_trace(tmp_path / "t.json", {"serial-eager": recorder.timeline()})
    assert list(tmp_path.iterdir()) == []
