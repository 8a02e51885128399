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
from sim.studies.replicas import SideBySide
from sim.studies.serving import ServingRun
from sim.timeline.metrics import StepPace, pace

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


def numbers(found: list[StepPace]) -> list[tuple[Any, ...]]:
    return [(each.tokens_per_s, each.late_rows, each.window, each.numbers.tolist()) for each in found]


def assert_those_runs(found: list[StepPace], runs: list[ServingRun], mode: str) -> None:
    alone = [pace(replace(run, machine="fast").timeline(mode, spans=False)) for run in runs]
    assert numbers(found) == numbers(alone)


@settings(max_examples=examples(40), deadline=None)
@given(runs=sweeps(), mode=st.sampled_from(MODES))
def test_runs_side_by_side_are_those_runs(runs: list[ServingRun], mode: str) -> None:
    try:
        together = SideBySide(runs).paces(mode)
    except OutsideError as error:
        assert error.feature == "a launch queue that may fill"  # noqa: PT017
    else:
        assert_those_runs(together, runs, mode)


@pytest.mark.parametrize("mode", MODES)
def test_what_bounds_the_step_may_change_from_run_to_run(mode: str) -> None:
    """Waits find the device done in some of the runs and not in others."""
    runs = [
        at(CLOSED.with_workload(output_tokens=70), context=c, scale=s) for c in (1, 90_000) for s in (0.0, 1.0, 9.0)
    ]
    found = SideBySide(runs).paces(mode)
    assert_those_runs(found, runs, mode)
    assert len({each.step_ns for each in found}) > 2


def test_steps_that_fill_the_launch_queue_are_refused() -> None:
    """The tiny model's step launches 28 kernels on the forward stream, two steps are in flight under overlap."""
    deep, shallow = (replace(CLOSED, constants=replace(CLOSED.constants, queue_depth=depth)) for depth in (56, 55))
    assert SideBySide([deep, at(deep, scale=3.0)]).paces("overlap-eager")
    with pytest.raises(OutsideError, match="a launch queue that may fill"):
        SideBySide([shallow, at(shallow, scale=3.0)]).paces("overlap-eager")
    assert SideBySide([shallow, at(shallow, scale=3.0)]).paces("serial-eager")


@pytest.mark.parametrize(
    ("runs", "feature"),
    [
        ([ServingRun.of(tiny_open())] * 2, "a workload with draws or arrivals"),
        ([CLOSED, CLOSED.with_workload(output_tokens=11)], "outputs that differ"),
        ([CLOSED, CLOSED.with_workload(stop_share=0.5)], "a workload with draws or arrivals"),
        ([CLOSED, CLOSED.with_workload(context=10**10)], "requests that wait for room"),
    ],
)
def test_runs_whose_decisions_hang_on_more_are_refused(runs: list[ServingRun], feature: str) -> None:
    with pytest.raises(OutsideError, match=feature):
        SideBySide(runs)


def test_a_naive_loop_is_refused() -> None:
    with pytest.raises(OutsideError, match="waits after every operation"):
        SideBySide([CLOSED, CLOSED]).paces("naive")
