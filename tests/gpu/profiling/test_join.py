"""Host spans and a trace of the same run, in one timeline with literal times."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpu.profiling.alignment import Clock
from gpu.profiling.join import Joined, joined
from sim.timeline.kineto import trace_of
from sim.timeline.spans import Kind, Place, Recorder, Timeline

ORIGIN = 1_000_000
HOST = [
    (0, 100, Kind.HOST, "schedule", 0),
    (100, 1100, Kind.CALL, "launch", 0),
    (1100, 5000, Kind.WAIT, "cudaEventSynchronize", 0),
    (5000, 5100, Kind.HOST, "process", 0),
    (5100, 6100, Kind.CALL, "launch", 1),
]
"""A thread's spans: start, end, kind, name and step."""


def host(*others: list[Any]) -> Timeline:
    recorder = Recorder()
    for number, spans in enumerate([HOST, *others]):
        recorder.track(f"thread {number}", Place.HOST_THREAD)
        for start, end, kind, name, step in spans:
            recorder.span(number, start, end, kind, recorder.name(name), 0, step)
    return recorder.timeline(ORIGIN)


def call(start: int, end: int, name: str, correlation: int, thread: int = 77) -> dict[str, Any]:
    """A call between two times of the run, as the trace has it: its clock is 400 us behind, in microseconds."""
    ts, dur = (ORIGIN + start - 400_000) / 1000, (end - start) / 1000
    about = {"correlation": correlation}
    return {
        "ph": "X",
        "cat": "cuda_runtime",
        "name": name,
        "tid": thread,
        "ts": str(ts),
        "dur": str(dur),
        "args": about,
    }


def work(start: int, end: int, name: str, correlation: int, stream: int = 7, cat: str = "kernel") -> dict[str, Any]:
    event = call(start, end, name, correlation)
    return event | {"cat": cat, "args": {"correlation": correlation, "stream": stream}}


def join(*events: dict[str, Any], timeline: Timeline | None = None, error: int = 0, **names: int) -> Joined:
    streams = {number: name for name, number in names.items()}
    return joined(timeline or host(), trace_of(events), Clock(0, 400_000, 0.0, error), streams)


def rows(found: Joined, track: str) -> list[tuple[int, int, str, str, int, int]]:
    """Start, end, kind, name, correlation and step of a track's spans."""
    table, names = found.timeline.on_track(track), found.timeline.names
    return [(s, e, Kind(k).name, names[n], c, step) for _, s, e, k, n, c, step in table.tolist()]


LAUNCH = call(300, 700, "cudaGraphLaunch", 9)
NODES = [work(800, 900, "mm", 9), work(950, 1000, "norm", 9)]


def test_a_call_takes_its_part_of_the_launch_and_the_rest_stays_the_host_s() -> None:
    assert rows(join(LAUNCH, call(750, 800, "cudaEventRecord", 10), *NODES), "thread 0")[:6] == [
        (0, 100, "HOST", "schedule", 0, 0),
        (100, 300, "HOST", "launch", 0, 0),
        (300, 700, "CALL", "cudaGraphLaunch", 9, 0),
        (700, 750, "HOST", "launch", 0, 0),
        (750, 800, "CALL", "cudaEventRecord", 0, 0),
        (800, 1100, "HOST", "launch", 0, 0),
    ]


def test_a_graph_s_kernels_carry_the_launch_s_correlation_and_step() -> None:
    found = join(LAUNCH, *NODES, forward=7)
    assert rows(found, "forward") == [(800, 900, "KERNEL", "mm", 9, 0), (950, 1000, "KERNEL", "norm", 9, 0)]
    assert (found.outside, found.too_early, found.earliest) == (0, 0, 0)


def test_a_stream_is_a_track_and_one_without_a_name_goes_by_its_number() -> None:
    copy = [call(5200, 5300, "cudaMemcpyAsync", 11), work(5400, 5500, "Memcpy DtoH", 11, 13, "gpu_memcpy")]
    found = join(LAUNCH, *NODES, *copy, forward=7)
    assert [t.name for t in found.timeline.tracks] == ["thread 0", "forward", "stream 13"]
    assert rows(found, "stream 13") == [(5400, 5500, "MEMCPY", "Memcpy DtoH", 11, 1)]


def test_a_synchronize_in_a_wait_is_that_wait_and_one_in_a_launch_is_a_wait_of_its_own() -> None:
    found = join(call(1150, 4950, "cudaEventSynchronize", 12), call(200, 400, "cudaDeviceSynchronize", 13))
    waits = [row[:4] for row in rows(found, "thread 0") if row[2] == "WAIT"]
    assert waits == [(200, 400, "WAIT", "cudaDeviceSynchronize"), (1100, 5000, "WAIT", "cudaEventSynchronize")]


def test_a_call_within_a_call_is_part_of_it_and_lends_it_what_it_launches() -> None:
    found = join(call(300, 700, "cudaLaunchKernel", 20), call(350, 600, "cuLaunchKernel", 21), work(800, 900, "mm", 21))
    assert (300, 700, "CALL", "cudaLaunchKernel", 21, 0) in rows(found, "thread 0")
    assert rows(found, "stream 7") == [(800, 900, "KERNEL", "mm", 21, 0)]


def test_work_launched_before_or_after_the_run_is_left_out_and_work_without_a_place_is_counted() -> None:
    before = [call(-5000, -4000, "cudaLaunchKernel", 1), work(-3900, 50, "capture", 1)]
    after = [call(7000, 7100, "cudaLaunchKernel", 50), work(7200, 7300, "other", 50)]
    between = [call(6150, 6200, "cudaLaunchKernel", 60), work(6200, 6300, "nobody's", 60)]
    found = join(*before, *after, work(10, 20, "no call's", 2), LAUNCH, *NODES)
    assert found.outside == 1
    found = join(*between, LAUNCH, *NODES, timeline=host([(0, 6500, Kind.HOST, "tokenize", -1)]))
    assert found.outside == 1
    assert len(rows(found, "stream 7")) == 2


def test_work_that_starts_before_its_call_beyond_the_error_is_reported() -> None:
    early = work(260, 900, "mm", 9)
    assert (join(LAUNCH, early, error=50).too_early, join(LAUNCH, early, error=50).earliest) == (0, 0)
    found = join(LAUNCH, early, error=30)
    assert (found.too_early, found.earliest) == (1, 40)


def test_each_thread_of_the_trace_finds_the_track_that_its_calls_lie_in() -> None:
    other = [(0, 5000, Kind.HOST, "tokenize", -1), (5000, 9000, Kind.CALL, "launch", 4)]
    events = [LAUNCH, call(7000, 7100, "cudaLaunchKernel", 30, thread=78), work(7200, 7300, "add", 30)]
    found = join(*events, timeline=host(other))
    assert (7000, 7100, "CALL", "cudaLaunchKernel", 30, 4) in rows(found, "thread 1")
    assert rows(found, "stream 7") == [(7200, 7300, "KERNEL", "add", 30, 4)]


def test_a_call_that_straddles_the_edge_of_a_span_is_cut_there() -> None:
    found = join(call(80, 300, "cudaLaunchKernel", 9), work(800, 900, "mm", 9))
    assert rows(found, "thread 0")[:3] == [
        (0, 100, "HOST", "schedule", 0, 0),
        (100, 300, "CALL", "cudaLaunchKernel", 9, 0),
        (300, 1100, "HOST", "launch", 0, 0),
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 7000), st.integers(1, 3000), st.booleans(), st.sampled_from((77, 78))), max_size=12
    )
)
def test_whatever_the_calls_a_thread_s_spans_stay_in_order_and_cover_what_they_covered(
    calls: list[tuple[int, int, bool, int]],
) -> None:
    names = ("cudaLaunchKernel", "cudaDeviceSynchronize")
    events = [call(s, s + d, names[wait], n, t) for n, (s, d, wait, t) in enumerate(calls, 1)]
    works = [work(s + d, s + d + 5, "k", n) for n, (s, d, wait, _) in enumerate(calls, 1) if not wait]
    found = join(*events, *works)
    spans = rows(found, "thread 0")
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert all(start <= end for start, end, *_ in spans)
    assert (spans[0][0], spans[-1][1]) == (0, 6100)
    on_device = int(found.timeline.on_device.sum())
    assert found.outside + on_device <= len(works)
    assert found.too_early == 0


def test_spans_of_a_thread_never_overlap_and_cover_what_they_covered() -> None:
    found = join(LAUNCH, call(650, 900, "cudaEventRecord", 10), call(5600, 5700, "cudaLaunchKernel", 40), *NODES)
    spans = rows(found, "thread 0")
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert (spans[0][0], spans[-1][1]) == (0, 6100)
