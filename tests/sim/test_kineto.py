"""What is read of a profiler's trace, from literal events and from traces of real machines."""

import json
from collections import Counter
from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from sim.timeline.kineto import read_trace, trace_of
from sim.timeline.spans import Kind

TRACES = Path(__file__).parents[3] / "shared/traces"


def test_times_become_whole_nanoseconds_however_far_they_are_from_zero(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(
        '{"traceEvents": [{"ph":"X","cat":"kernel","name":"mm","pid":0,"tid":7,"ts":1683564901978667.123,"dur":0.672,'
        '"args":{"stream":7,"correlation":3}}, {"ph":"s","id":3,"cat":"ac2g"}]}'
    )
    (work,) = read_trace(path).work
    assert work == (7, 1683564901978667123, 1683564901978667795, Kind.KERNEL, "mm", 3)


def test_calls_work_and_marks_are_told_apart_and_sorted() -> None:
    def event(cat: str, ts: int, **about: int) -> dict[str, object]:
        return {"ph": "X", "cat": cat, "name": cat, "tid": 5, "ts": ts, "dur": 1, "args": about}

    events = [
        event("gpu_memset", 9, stream=1, correlation=2),
        event("Memcpy", 4, stream=1, correlation=1),
        event("cuda_driver", 2, correlation=2),
        event("Runtime", 1, correlation=1),
        event("user_annotation", 3),
        event("cpu_op", 3),
    ]
    trace = trace_of(events)
    assert [(c.name, c.thread, c.start, c.correlation) for c in trace.calls] == [
        ("Runtime", 5, 1000, 1),
        ("cuda_driver", 5, 2000, 2),
    ]
    assert [w.kind for w in trace.work] == [Kind.MEMCPY, Kind.MEMSET]
    assert [m.start for m in trace.marks] == [3000]


@pytest.mark.parametrize("text", ["[]", "{}", "no json", json.dumps({"traceEvents": [{"ph": "X", "cat": "kernel"}]})])
def test_a_file_that_is_no_trace_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=r"other\.json.*expected a trace of torch's profiler"):
        read_trace(path)


@pytest.mark.skipif(not TRACES.exists(), reason="no traces here")
@pytest.mark.parametrize(
    ("name", "kernels", "launches", "nodes", "streams", "unlaunched"),
    [
        ("qwen3_0p6b_graph_sync_bs8", 4981, 12, 396, None, None),
        ("qwen3_0p6b_default_sync_bs8", 4621, 12, 366, None, None),
        ("hta_a100_cudagraph_multistream", 6080, 70, None, 6, 872),
        ("tracelens_h100_qwen1.5-0.5b", 1465, 0, None, 1, 509),
        ("kineto_v100_resnet50_workers0", 8772, 0, None, 1, 0),
    ],
)
def test_real_traces_give_every_kernel_and_the_call_that_launched_it(
    name: str, kernels: int, launches: int, nodes: int | None, streams: int | None, unlaunched: int | None
) -> None:
    trace = read_trace(TRACES / f"{name}.json.gz")
    assert sum(work.kind is Kind.KERNEL for work in trace.work) == kernels
    graphs = [call for call in trace.calls if call.name == "cudaGraphLaunch"]
    assert len(graphs) == launches
    of = Counter(work.correlation for work in trace.work)
    if nodes is not None:
        assert {of[call.correlation] for call in graphs} == {nodes}
    if streams is not None:
        assert len({work.stream for work in trace.work}) == streams
    if unlaunched is not None:
        calls = {call.correlation for call in trace.calls}
        assert sum(work.correlation not in calls for work in trace.work) == unlaunched
    starts = {call.correlation: call.start for call in trace.calls}
    assert all(starts.get(work.correlation, work.start) <= work.start for work in trace.work)
