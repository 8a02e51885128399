"""A run under the profiler in a process of its own: end to end on a CPU, where the trace has marks alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from gpu.profiling.handover import load, save  # noqa: E402
from gpu.profiling.join import Joined  # noqa: E402
from gpu.profiling.profiled import Profiled, profiled_spans, step_ns  # noqa: E402
from scenarios.errors import ScenarioError  # noqa: E402
from scenarios.loader import load_scenario  # noqa: E402
from sim.studies.serving import ServingRun  # noqa: E402
from sim.timeline.spans import Kind, Place  # noqa: E402

SETS = ["model=tiny", "workload.batch=3", "workload.context=20", "workload.output_tokens=12", "engine.buckets=[4]"]


def profiled(sets: Sequence[str], clean: dict[str, float], on: str) -> dict[str, Profiled]:
    words = ["decode-llama-3.1-8b", *(word for one in sets for word in ("--set", one))]
    return profiled_spans(load_scenario("decode-llama-3.1-8b", sets), words, clean, "cuda" if on == "cuda" else "cpu")


def test_on_a_cpu_the_host_s_spans_come_back_with_the_clocks_error_and_the_inflation() -> None:
    found = profiled(SETS, {"serial-eager": 1000.0, "overlap-graph": 1000.0}, "cpu")
    assert list(found) == ["serial-eager", "overlap-graph"]
    for one in found.values():
        assert 0 < one.alignment_error_ns < 1_000_000
        assert [t.place for t in one.timeline.tracks] == [Place.HOST_THREAD, Place.STREAM]
        assert {d.rows for d in one.timeline.deliveries if not d.prefill} == {3}
        assert one.inflation == step_ns(load_scenario("decode-llama-3.1-8b", SETS), one.timeline) / 1000
        assert (one.outside, one.too_early, one.earliest_ns) == (0, 0, 0)


def test_a_process_that_fails_is_one_line_that_says_why() -> None:
    loaded = load_scenario("decode-llama-3.1-8b", SETS)
    with pytest.raises(ScenarioError, match=r"ended with exit status 2: no-such-scenario"):
        profiled_spans(loaded, ["no-such-scenario"], {"serial-eager": 1.0}, "cpu")
    with pytest.raises(ScenarioError, match=r"ended with exit status 1: ValueError: no mode 'no-such-mode'"):
        profiled(SETS, {"no-such-mode": 1.0}, "cpu")
    with pytest.raises(ScenarioError, match=r"the process that profiles was ended after 0 s"):
        profiled_spans(loaded, ["decode-llama-3.1-8b"], {"serial-eager": 1.0}, "cpu", limit_s=0.01)


def test_what_is_handed_over_reads_back_as_it_was(tmp_path: Path) -> None:
    timeline = ServingRun.of(load_scenario("decode-llama-3.1-8b", SETS)).timeline("overlap-graph")
    save(tmp_path, "overlap-graph", Joined(timeline, 1, 2, 3), 4)
    back, error = load(tmp_path, "overlap-graph")
    assert (back.outside, back.too_early, back.earliest, error) == (1, 2, 3, 4)
    assert (back.timeline.table == timeline.table).all()
    assert (back.timeline.tracks, back.timeline.names) == (timeline.tracks, timeline.names)
    assert (back.timeline.deliveries, back.timeline.served) == (timeline.deliveries, timeline.served)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_every_kernel_has_its_call_its_step_and_a_named_stream() -> None:
    found = profiled([*SETS, "engine.buckets=[3]"], {"serial-eager": 1.0, "overlap-graph": 1.0}, "cuda")
    for mode, one in found.items():
        assert (one.outside, one.too_early) == (0, 0)
        timeline = one.timeline
        streams = {t.name for t in timeline.tracks if t.place is Place.STREAM}
        assert streams <= {"forward", "schedule", "copy"}
        assert "forward" in streams
        assert (timeline.column("step")[timeline.on_device] >= 0).all()
        calls = timeline.table[timeline.column("kind") == Kind.CALL]
        graphs = calls[[name == "cudaGraphLaunch" for name in timeline.span_names(calls)]]
        assert bool(len(graphs)) == mode.endswith("graph")
        for correlation in graphs[:, 5].tolist():
            assert (timeline.column("correlation")[timeline.on_device] == correlation).sum() > 10
