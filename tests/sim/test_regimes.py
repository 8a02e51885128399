"""Telling a process that profiles from a clean one, and predicting a run in either."""

import json
from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario
from scenarios.profile import Profile
from sim.program.constants import Constants
from sim.studies.program import run_program
from sim.studies.serving import ServingRun
from sim.timeline.kineto import read_trace
from sim.timeline.profiled import GraphLaunch, is_profiled, launches_in, launches_of
from sim.timeline.spans import Kind, Place, Recorder

PROFILED = Path(__file__).parents[2] / "gpu/results/nvidia-h200/profiled.json"
TRACES = Path(__file__).parents[3] / "shared/traces"
LOADED = load_scenario("decode-llama-3.1-8b", ["workload.batch=4", "workload.output_tokens=12"])


def h200(**changed: object) -> Profile:
    return LOADED.profile.model_copy(update=changed)


@pytest.mark.parametrize(
    ("nodes", "us", "profiled"),
    [
        (100, 5.3, False),
        (400, 13.9, False),
        (800, 8.6, False),
        (100, 27.5, True),
        (400, 91.4, True),
        (800, 171.0, True),
    ],
)
def test_a_launch_of_a_measured_graph_is_told_apart(nodes: int, us: float, *, profiled: bool) -> None:
    assert is_profiled([GraphLaunch(nodes, round(us * 1000))], h200()) is profiled


def test_the_middle_of_the_launches_decides() -> None:
    clean, stuck = GraphLaunch(400, 4_000), GraphLaunch(400, 900_000)
    assert is_profiled([clean, clean, stuck], h200()) is False
    assert is_profiled([clean, stuck, stuck], h200()) is True


def test_without_graphs_or_without_the_constants_nothing_is_told() -> None:
    assert is_profiled([], h200()) is None
    assert is_profiled([GraphLaunch(0, 5_000)], h200()) is None
    assert is_profiled([GraphLaunch(400, 5_000)], h200(profiled=None)) is None


def test_the_nodes_of_a_timeline_s_launches_are_the_work_that_shares_their_id() -> None:
    recorder = Recorder()
    thread, stream = recorder.track("main", Place.HOST_THREAD), recorder.track("forward", Place.STREAM)
    recorder.span(thread, 0, 7, Kind.CALL, recorder.name("cudaGraphLaunch"), 1)
    recorder.span(thread, 7, 9, Kind.CALL, recorder.name("cudaLaunchKernel"), 2)
    for start, correlation in ((10, 1), (20, 1), (30, 1), (40, 2)):
        recorder.span(stream, start, start + 5, Kind.KERNEL, recorder.name("k"), correlation)
    assert launches_of(recorder.timeline()) == [(3, 7)]


def test_what_the_machine_predicts_in_either_process_is_told_apart_again() -> None:
    run = ServingRun.of(LOADED)
    assert is_profiled(launches_of(run.timeline("serial-graph")), run.profile) is False
    assert is_profiled(launches_of(run.as_profiled().timeline("serial-graph")), run.profile) is True
    program = load_scenario("launch-chain")
    assert is_profiled(launches_of(run_program(program, "graph")), program.profile) is False
    assert is_profiled(launches_of(run_program(program, "graph", profiled=True)), program.profile) is True


def test_a_profiled_process_differs_in_the_calls_that_launch_alone() -> None:
    clean, slow = Constants.of(h200()), Constants.profiled(h200())
    changed = {name for name in Constants.__slots__ if getattr(clean, name) != getattr(slow, name)}
    assert changed == {"launch_call", "graph_launch_call", "graph_launch_call_per_1000_nodes"}


def test_the_profiled_constants_hit_the_measured_launches_within_a_tenth_and_a_clean_run_never_sees_them() -> None:
    constants = Constants.profiled(h200())
    for nodes, us in json.loads(PROFILED.read_text())["launches"]["graph_after"].items():
        call = constants.graph_launch_call + constants.graph_launch_call_per_1000_nodes * int(nodes) // 1000
        assert call / 1000 == pytest.approx(us, rel=0.1)
    assert Constants.of(h200()) == Constants.of(h200(profiled=None))


def test_a_profile_without_them_cannot_predict_a_profiled_run() -> None:
    with pytest.raises(ScenarioError, match="nvidia-h200: profiled: missing, expected a table"):
        Constants.profiled(h200(profiled=None))


@pytest.mark.skipif(not TRACES.exists(), reason="no traces here")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("qwen3_0p6b_graph_sync_bs8", True),
        ("qwen3_0p6b_default_sync_bs8", True),
        ("hta_a100_cudagraph_multistream", True),
        ("tracelens_h100_qwen1.5-0.5b", None),
    ],
)
def test_traces_with_graphs_are_known_to_be_a_profiler_s(name: str, *, told: bool | None) -> None:
    assert is_profiled(launches_in(read_trace(TRACES / f"{name}.json.gz")), h200()) is told
