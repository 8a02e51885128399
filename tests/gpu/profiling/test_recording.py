"""What a recording reads from its own ranges in a trace."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from gpu.profiling.alignment import Marker
from gpu.profiling.recording import markers, stream_names
from sim.timeline.kineto import trace_of


def event(cat: str, name: str, start: int, end: int, **about: int) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "tid": 5, "ts": start, "dur": end - start, "args": about}


def test_a_marker_is_where_its_range_begins_between_its_two_readings() -> None:
    ranges = [event("user_annotation", f"overlapsim marker {n}", 10 * n + 7, 10 * n + 9) for n in (1, 0)]
    found = markers(trace_of([*ranges, event("user_annotation", "else", 0, 1)]), [(100, 110), (200, 210)])
    assert found == [Marker(100, 110, 7000), Marker(200, 210, 17000)]


def test_a_stream_is_named_by_what_was_launched_within_its_range() -> None:
    events = [
        event("user_annotation", "overlapsim stream forward", 0, 10),
        event("cuda_runtime", "cudaLaunchKernel", 2, 3, correlation=1),
        event("kernel", "fill", 20, 21, correlation=1, stream=13),
        event("user_annotation", "overlapsim stream copy", 10, 20),
        event("cuda_runtime", "cudaMemsetAsync", 12, 13, correlation=2),
        event("gpu_memset", "fill", 22, 23, correlation=2, stream=21),
        event("cuda_runtime", "cudaLaunchKernel", 30, 31, correlation=3),
        event("kernel", "other", 40, 41, correlation=3, stream=7),
    ]
    assert stream_names(trace_of(events)) == {13: "forward", 21: "copy"}
