"""The picture of a timeline: what is merged, what counts as idle, and that a file comes out of it."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.timeline.picture import EVEN, MIXED, ODD, draw_modes, draw_program, idle_intervals, lane_names, merge_spans
from sim.timeline.spans import FIELDS, Column, Kind, Place, Recorder, Timeline

INTERVALS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 30)), max_size=20).map(
    lambda pairs: sorted((start, start + duration) for start, duration in pairs)
)


def rows(*intervals: tuple[int, int], step: int = 0) -> Column:
    """Spans of one lane with these starts and ends."""
    table = np.zeros((len(intervals), len(FIELDS)), np.int64)
    table[:, 1:3] = np.array(intervals, np.int64).reshape(-1, 2)
    table[:, 6] = step
    return table


def same(spans: Column) -> Column:
    return np.full(len(spans), EVEN)


def two_steps(*, ranks: int = 1) -> Timeline:
    """Two steps of a serial server: 700 us of host work, then 300 kernels of 4 us, each 5 us after the one before."""
    recorder = Recorder()
    for rank in range(ranks):
        host = recorder.track("scheduler", Place.HOST_THREAD, rank)
        stream = recorder.track("forward", Place.STREAM, rank)
        for step in (0, 1):
            begin = 2_300_000 * step
            launched = begin + 700_000
            done = launched + 1_500_000
            recorder.span(host, begin, launched, Kind.HOST, recorder.name("schedule"), step=step)
            recorder.span(host, launched, done, Kind.WAIT, recorder.name("cudaEventSynchronize"), step=step)
            for i in range(300):
                start = launched + 5_000 * i
                recorder.span(stream, start, start + 4_000, Kind.KERNEL, recorder.name("gemm"), step=step)
    return recorder.timeline()


def size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", header[16:])
    return width, height


def test_spans_closer_than_the_gap_become_one_bar_that_knows_how_much_of_it_is_covered() -> None:
    spans = rows((0, 10), (12, 20), (25, 30), (100, 110))
    merged = merge_spans(spans, same(spans), gap=6, wide=1_000)
    assert merged.start.tolist() == [0, 100]
    assert merged.end.tolist() == [30, 110]
    assert merged.covered.tolist() == [23, 10]


def test_a_gap_of_just_the_limit_stays_visible() -> None:
    spans = rows((0, 10), (16, 20))
    assert merge_spans(spans, same(spans), gap=6, wide=1_000).start.tolist() == [0, 16]


def test_a_wide_span_stays_by_itself_between_merged_ones() -> None:
    spans = rows((0, 1), (1, 2), (2, 52), (52, 53), (53, 54))
    merged = merge_spans(spans, same(spans), gap=6, wide=50)
    assert list(zip(merged.start.tolist(), merged.end.tolist(), strict=True)) == [(0, 2), (2, 52), (52, 54)]


def test_overlapping_spans_are_covered_once() -> None:
    spans = rows((0, 10), (2, 4), (8, 15))
    merged = merge_spans(spans, same(spans), gap=1, wide=1_000)
    assert (merged.end.tolist(), merged.covered.tolist()) == ([15], [15])


def test_colours_merge_apart_even_where_they_alternate() -> None:
    spans = rows((0, 1), (1, 2), (2, 3), (3, 4))
    merged = merge_spans(spans, np.array([EVEN, ODD, EVEN, ODD]), gap=3, wide=1_000)
    assert merged.paint.tolist() == [EVEN, ODD]
    assert (merged.start.tolist(), merged.end.tolist(), merged.covered.tolist()) == ([0, 1], [3, 4], [2, 2])


def test_a_bar_of_several_steps_belongs_to_none() -> None:
    spans = np.concatenate((rows((0, 1), (1, 2), step=4), rows((50, 51), step=4), rows((51, 52), step=6)))
    assert merge_spans(spans, same(spans), gap=3, wide=1_000).step.tolist() == [4, MIXED]


def test_a_hundred_thousand_kernels_become_one_bar_a_step() -> None:
    start = np.arange(100_000) * 10 + np.arange(100_000) // 1_000 * 5_000
    spans = rows(*zip(start.tolist(), (start + 8).tolist(), strict=True))
    merged = merge_spans(spans, same(spans), gap=50, wide=400)
    assert merged.covered.tolist() == [8_000] * 100


@given(INTERVALS, st.integers(1, 20), st.integers(1, 40))
def test_merging_loses_no_busy_time(intervals: list[tuple[int, int]], gap: int, wide: int) -> None:
    """Each bar covers what its spans do, overlaps within it counted once."""
    spans = rows(*intervals)
    merged = merge_spans(spans, same(spans), gap, wide)
    busy = {t for start, end in intervals for t in range(start, end)}
    assert len(busy) <= merged.covered.sum() <= sum(end - start for start, end in intervals)
    assert (merged.covered <= merged.end - merged.start).all()
    if all(before[1] <= after[0] for before, after in pairwise(sorted(intervals))):
        assert merged.covered.sum() == len(busy)


def test_idle_is_where_no_stream_has_a_span() -> None:
    spans = rows((10, 20), (15, 18), (30, 60), (50, 70))
    assert idle_intervals(spans, 0, 100).tolist() == [[0, 10], [20, 30], [70, 100]]
    assert idle_intervals(spans, 12, 55).tolist() == [[20, 30]]
    assert idle_intervals(rows(), 5, 9).tolist() == [[5, 9]]


@given(INTERVALS, st.integers(0, 100), st.integers(1, 150))
def test_idle_and_busy_make_up_the_window(intervals: list[tuple[int, int]], start: int, length: int) -> None:
    busy = {t for a, b in intervals for t in range(a, b)}
    found = idle_intervals(rows(*intervals), start, start + length).tolist()
    assert [t for a, b in found for t in range(a, b)] == [t for t in range(start, start + length) if t not in busy]


def test_each_mode_adds_a_panel_of_its_lanes(tmp_path: Path) -> None:
    draw_modes(tmp_path / "one.png", {"serial-eager": two_steps()}, "One mode")
    draw_modes(tmp_path / "two.png", {"serial-eager": two_steps(), "serial-graph": two_steps(ranks=2)}, "Two modes")
    assert size(tmp_path / "one.png") == (1800, 360)
    assert size(tmp_path / "two.png") == (1865, 603)  # wider by what the longest lane's name needs
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_a_lane_says_its_rank_once_and_only_where_there_are_several() -> None:
    assert lane_names(two_steps()) == ["host: scheduler", "stream: forward"]
    recorder = Recorder()
    for name, rank in (("scheduler", 0), ("rank 1", 1), ("forward (rank 1)", 1)):
        recorder.track(name, Place.HOST_THREAD, rank)
    names = ["host: scheduler (rank 0)", "host: rank 1", "host: forward (rank 1)"]
    assert lane_names(recorder.timeline()) == names


def test_equal_timelines_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_modes(tmp_path / name, {"serial-eager": two_steps()}, "Twice", {"serial-eager": "2.30 ms a step"})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_window_decides_what_is_seen(tmp_path: Path) -> None:
    runs = {"serial-eager": two_steps()}
    draw_program(tmp_path / "whole.png", runs, "Window")
    draw_modes(tmp_path / "same.png", runs, "Window", window={"serial-eager": (0, 4_500_000)})
    draw_modes(tmp_path / "later.png", runs, "Window", window={"serial-eager": (2_300_000, 4_500_000)})
    whole, same_window, later = ((tmp_path / f"{name}.png").read_bytes() for name in ("whole", "same", "later"))
    assert whole == same_window
    assert whole != later


def test_a_shorter_window_is_extended_to_the_common_axis(tmp_path: Path) -> None:
    runs = {"serial-eager": two_steps(), "serial-graph": two_steps()}
    long, short = (0, 4_500_000), (0, 2_300_000)
    draw_modes(tmp_path / "a.png", runs, "Axis", window={"serial-eager": long, "serial-graph": short})
    draw_modes(tmp_path / "b.png", runs, "Axis", window={"serial-eager": long, "serial-graph": long})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_mode_without_spans_is_an_empty_panel(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.track("scheduler", Place.HOST_THREAD)
    recorder.track("forward", Place.STREAM)
    draw_modes(
        tmp_path / "t.png", {"serial-eager": two_steps(), "serial-graph": recorder.timeline()}, "A mode that never ran"
    )
    assert size(tmp_path / "t.png") == (1800, 513)


def test_nothing_to_draw_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_modes(tmp_path / "t.png", {"serial-eager": Recorder().timeline()}, "Empty")
    assert list(tmp_path.iterdir()) == []
