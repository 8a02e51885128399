"""Runs side by side against each of them by itself: equal to the last bit, or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_worlds import tiny, tiny_open

from scenarios.loader import load_engine, load_model
from scenarios.model import TimerModel
from sim.fast.refusal import OutsideError
from sim.studies.replicas import Arrays, Paces, SideBySide
from sim.studies.serving import ServingRun
from sim.timeline.metrics import pace

CLOSED = ServingRun.of(tiny())
MODELS = (load_model("tiny"), load_model("tiny"), TimerModel(kind="timer", step="90us", per_row="700ns"))
MODES = ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")
PRESETS = tuple(load_engine(name) for name in ("lean", "pytorch"))


def at(run: ServingRun, *, context: int = 20, scale: float = 1.0, extra: int = 0, kernels: float = 1.0) -> ServingRun:
    """The same run at another point of a sweep."""
    scenario = run.scenario
    parts: dict[str, Any] = {
        "workload": scenario.workload.model_copy(update={"context": context}),
        "host": scenario.host.model_copy(update={"scale": scale, "extra": extra}),
        "kernels": scenario.kernels.model_copy(update={"scale": kernels}),
    }
    return replace(run, scenario=scenario.model_copy(update=parts), scale=scale)


@st.composite
def sweeps(draw: st.DrawFn) -> list[ServingRun]:
    """One closed batch on any engine at a few points."""
    engine = draw(st.sampled_from(PRESETS)).model_copy(
        update={
            "sample_in_graph": draw(st.booleans()),
            "copy_stream": draw(st.sampled_from(("forward", "separate"))),
            "input_copies": draw(st.integers(0, 3)),
            "late_stop_length": draw(st.booleans()),
            "buckets": tuple(sorted(draw(st.sets(st.integers(1, 12), min_size=1, max_size=4)))),
        }
    )
    run = CLOSED.with_workload(batch=draw(st.integers(1, 9)), output_tokens=draw(st.integers(1, 90)))
    costs = {name: draw(st.sampled_from((0, 700, 60_000))) for name in ("wake_spin", "launch_latency", "stream_gap")}
    run = replace(
        run,
        model=draw(st.sampled_from(MODELS)),
        engine=engine,
        buckets=engine.buckets,
        constants=replace(run.constants, queue_depth=draw(st.sampled_from((40, 1021))), **costs),
    )
    points = st.builds(
        dict,
        context=st.integers(1, 3000),
        scale=st.sampled_from((0.0, 0.1, 1.0, 3.7)),
        extra=st.sampled_from((0, 5_000, 300_000)),
        kernels=st.sampled_from((1.0, 0.3, 2.0)),
    )
    return [at(run, **point) for point in draw(st.lists(points, min_size=2, max_size=5))]


def arrays(library: str) -> Arrays:
    """NumPy's arrays, or PyTorch's tensors on the host where it is installed."""
    if library == "numpy":
        return Arrays()
    pytest.importorskip("torch")
    from gpu.columns import arrays_on

    return arrays_on("cpu")


def side_by_side(runs: list[ServingRun], library: str) -> SideBySide:
    extra = [run.scenario.host.extra for run in runs]
    return SideBySide(runs, range(len(runs)), [run.scale for run in runs], extra, arrays(library))


def assert_those_runs(found: Paces, runs: list[ServingRun], mode: str) -> None:
    alone = [pace(replace(run, machine="fast").timeline(mode, spans=False)) for run in runs]
    assert found.step_ns.tolist() == [each.step_ns for each in alone]
    assert found.tokens_per_s.tolist() == [each.tokens_per_s for each in alone]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@settings(max_examples=examples(30))
@given(runs=sweeps(), mode=st.sampled_from(MODES))
def test_runs_side_by_side_are_those_runs(library: str, runs: list[ServingRun], mode: str) -> None:
    try:
        together = side_by_side(runs, library).paces(mode)
    except OutsideError as error:
        assert error.feature == "a launch queue that may fill"  # noqa: PT017
    else:
        assert_those_runs(together, runs, mode)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("mode", MODES)
def test_what_bounds_the_step_may_change_from_run_to_run(mode: str, library: str) -> None:
    """Waits find the device done in some of the runs and not in others."""
    runs = [
        at(CLOSED.with_workload(output_tokens=70), context=c, scale=s) for c in (1, 90_000) for s in (0.0, 1.0, 9.0)
    ]
    found = side_by_side(runs, library).paces(mode)
    assert_those_runs(found, runs, mode)
    assert len(set(found.step_ns.tolist())) > 2


def test_steps_that_fill_the_launch_queue_are_refused() -> None:
    """The tiny model's step launches 28 kernels on the forward stream, two steps are in flight under overlap."""
    deep, shallow = (replace(CLOSED, constants=replace(CLOSED.constants, queue_depth=depth)) for depth in (56, 55))
    assert side_by_side([deep, at(deep, scale=3.0)], "numpy").paces("overlap-eager")
    with pytest.raises(OutsideError, match="a launch queue that may fill"):
        side_by_side([shallow, at(shallow, scale=3.0)], "numpy").paces("overlap-eager")
    assert side_by_side([shallow, at(shallow, scale=3.0)], "numpy").paces("serial-eager")


@pytest.mark.parametrize(
    ("runs", "feature"),
    [
        ([ServingRun.of(tiny_open())] * 2, "requests that arrive"),
        ([CLOSED, CLOSED.with_workload(output_tokens=11)], "outputs that differ"),
        ([CLOSED, CLOSED.with_workload(stop_share=0.5)], "outputs that end by a draw"),
        ([CLOSED, CLOSED.with_workload(context=10**10)], "requests that wait for room"),
    ],
)
def test_runs_whose_decisions_hang_on_more_are_refused(runs: list[ServingRun], feature: str) -> None:
    with pytest.raises(OutsideError, match=feature):
        side_by_side(runs, "numpy")


def test_points_that_share_a_run_differ_in_their_hosts_alone() -> None:
    runs = [at(CLOSED, context=30), at(CLOSED, context=900)]
    which, scale, extra = [1, 0, 1, 1], [0.5, 2.0, 2.0, 7.0], [0, 100, 0, 4_000]
    found = SideBySide(runs, which, scale, extra).paces("overlap-eager")
    points = [at(CLOSED, context=(30, 900)[w], scale=s, extra=e) for w, s, e in zip(which, scale, extra, strict=True)]
    assert_those_runs(found, points, "overlap-eager")


def test_a_naive_loop_is_refused() -> None:
    with pytest.raises(OutsideError, match="waits after every operation"):
        side_by_side([CLOSED, CLOSED], "numpy").paces("naive")
