"""Serving workloads at random on the fast machine and on the reference: equal to the byte."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_worlds import tiny, tiny_open

from scenarios.errors import ScenarioError
from scenarios.loader import list_engines, load_engine, load_model
from scenarios.model import TimerModel
from sim.fast import launches
from sim.fast.host import HostThread
from sim.fast.listed import enqueue
from sim.serving.server import Server
from sim.studies.serving import ServingRun
from sim.timeline.spans import Timeline

CLOSED, OPEN = ServingRun.of(tiny()), ServingRun.of(tiny_open())
MODELS = (load_model("tiny"), load_model("tiny"), TimerModel(kind="timer", step="90us", per_row="700ns"))
JITTER = ((0.0, 0.7), (0.5, 1.0), (0.99, 3.0), (1.0, 12.0))
PRESETS = tuple(load_engine(name) for name in ("lean", "lean", "lean", "pytorch"))
cost = st.sampled_from((0, 1, 700, 5_000, 60_000))


@st.composite
def workloads(draw: st.DrawFn, longest: int) -> dict[str, Any]:
    """Requests of up to so many tokens, all there at the start or arriving faster or slower than they are served."""
    lengths = {"context": draw(st.integers(1, 200)), "output_tokens": draw(st.integers(1 + longest // 3, longest))}
    lengths["stop_share"] = draw(st.sampled_from((0.0, 0.0, 0.5, 1.0)))
    if draw(st.booleans()):
        return {"batch": draw(st.integers(1, 9)), **lengths}
    return {"rate": draw(st.sampled_from((200.0, 5e3, 1e5))), "requests": draw(st.integers(1, 6)), **lengths}


@st.composite
def runs(draw: st.DrawFn, longest: int = 10) -> ServingRun:
    """Any workload on any engine, host and machine."""
    workload = draw(workloads(longest))
    run = (CLOSED if "batch" in workload else OPEN).with_workload(**workload)
    engine = draw(st.sampled_from(PRESETS)).model_copy(
        update={
            "future_map": draw(st.sampled_from(("ring", "request-slot"))),
            "sample_in_graph": draw(st.booleans()),
            "copy_stream": draw(st.sampled_from(("forward", "separate"))),
            "input_copies": draw(st.integers(0, 3)),
            "late_stop_token": draw(st.booleans()),
            "late_stop_length": draw(st.booleans()),
            "buckets": tuple(sorted(draw(st.sets(st.integers(1, 12), min_size=1, max_size=4)))),
            "batching": draw(st.sampled_from(("prefill-first", "decode-first", "mixed"))),
            "chunked_prefill": draw(st.booleans()),
            "ordering": draw(st.sampled_from(("fcfs", "shortest-first", "longest-prefix"))),
            "kv_reservation": draw(st.sampled_from(("longest", "grow"))),
            "kv_blocks": None if "batch" in workload else draw(st.sampled_from((None, 16, 30))),
            "max_batch": draw(st.integers(1, 9)),
            "token_budget": draw(st.sampled_from((9, 40, 300, 8192))),
        }
    )
    schedule = engine.host.schedule.model_copy(update={"prefill": draw(cost), "per_prompt": draw(cost)})
    engine = engine.model_copy(update={"host": engine.host.model_copy(update={"schedule": schedule})})
    host = run.scenario.host.model_copy(update={"extra": draw(cost), "jitter": draw(st.booleans())})
    constants = {name: draw(cost) for name in ("wake_spin", "launch_latency", "stream_gap", "stream_switch")}
    return replace(
        run,
        scenario=run.scenario.model_copy(update={"host": host}),
        model=draw(st.sampled_from(MODELS)),
        engine=engine,
        buckets=engine.buckets,
        profile=run.profile.model_copy(update={"jitter": run.profile.jitter.model_copy(update={"quantiles": JITTER})}),
        constants=replace(run.constants, queue_depth=draw(st.sampled_from((1, 3, 40, 1021))), **constants),
        scale=draw(st.sampled_from((0.0, 0.1, 1.0, 3.0))),
        seed=draw(st.integers(0, 99)),
    )


def assert_equal(fast: Timeline, reference: Timeline) -> None:
    assert (fast.machine, reference.machine) == ("fast", "reference")
    assert fast.deliveries == reference.deliveries
    assert fast.served == reference.served
    assert fast.tracks == reference.tracks
    assert fast.names == reference.names
    assert np.array_equal(fast.table, reference.table)


def compare(run: ServingRun, mode: str) -> None:
    reference = replace(run, machine="reference").timeline(mode)
    fast = replace(run, machine="fast")
    assert_equal(fast.timeline(mode), reference)
    summary = fast.timeline(mode, spans=False)
    assert (summary.deliveries, summary.served) == (reference.deliveries, reference.served)


@settings(max_examples=examples(100))
@given(run=runs())
def test_any_serving_run_is_equal_to_the_byte(run: ServingRun) -> None:
    for mode in ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph"):
        compare(run, mode)


@settings(max_examples=examples(10))
@given(run=runs(30), rate=st.sampled_from((150.0, 600.0, 2_000.0)), requests=st.integers(2, 4))
def test_arrivals_that_end_a_run_of_equal_steps_are_equal(run: ServingRun, rate: float, requests: int) -> None:
    slow = run.with_workload(batch=None, rate=rate, requests=requests)
    for mode in ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph"):
        compare(replace(slow, scale=0.5), mode)


@settings(max_examples=examples(8))
@given(run=runs())
def test_a_naive_loop_is_equal_to_the_byte(run: ServingRun) -> None:
    compare(run, "naive")


@settings(max_examples=examples(40))
@given(run=runs(40), mode=st.sampled_from(("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")))
def test_long_outputs_are_equal_when_their_steps_are_run_at_once(run: ServingRun, mode: str) -> None:
    compare(run, mode)


@pytest.mark.parametrize(("depth", "at_once"), [(1, False), (30, False), (55, False), (56, True), (57, True)])
def test_steps_are_run_at_once_from_the_depth_on_at_which_two_of_them_fit_into_the_launch_queue(
    depth: int, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model's step launches 28 kernels on the forward stream, two steps are in flight."""
    run = CLOSED.with_workload(batch=3, context=50, output_tokens=60)
    run = replace(run, constants=replace(run.constants, queue_depth=depth))
    jumps: list[int] = []
    advance = Server.advance
    monkeypatch.setattr(Server, "advance", lambda self, steps: (jumps.append(steps), advance(self, steps))[1])
    compare(run, "overlap-eager")
    jumps.clear()
    replace(run, machine="fast").timeline("overlap-eager")
    assert bool(jumps) == at_once


@pytest.mark.parametrize("spans", [False, True])
@pytest.mark.parametrize("mode", ["serial-eager", "serial-graph", "overlap-eager", "overlap-graph"])
def test_a_step_whose_plan_has_been_run_before_is_straight_code(
    mode: str, spans: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OPEN.with_workload(rate=2e3, requests=60, output_tokens=5)
    enqueued: list[object] = []
    monkeypatch.setattr(
        launches, "enqueue", lambda caller, plan, *rest: (enqueued.append(plan), enqueue(caller, plan, *rest))[1]
    )
    monkeypatch.setattr(launches, "OFTEN", 1)
    summary = replace(run, machine="fast").timeline(mode, spans=spans)
    assert len(enqueued) < len(summary.deliveries) / 2
    assert len(enqueued) <= len(set(map(id, enqueued))) + 2  # a plan is first run on a device that nothing has used
    assert summary.deliveries == replace(run, machine="reference").timeline(mode).deliveries


@pytest.mark.parametrize("preset", list_engines())
def test_every_engine_is_equal_where_steps_repeat_between_arrivals_and_ends(preset: str) -> None:
    loaded = tiny(f"engine.preset={preset}", "workload.output_tokens=30")
    closed = ServingRun.of(loaded)
    arriving = closed.with_workload(batch=None, rate=400.0, requests=5, stop_share=0.4)
    for run in (closed, arriving):
        for mode in loaded.modes:
            try:
                compare(run, mode)
            except ScenarioError as error:
                assert "expected 'auto' or 'reference'" in str(error)  # noqa: PT017  several threads


@pytest.mark.parametrize("mode", ["serial-eager", "serial-graph", "overlap-eager", "overlap-graph"])
def test_a_loop_is_not_asked_for_steps_that_it_has_been_seen_to_repeat(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four requests, one after the other: the loop is asked for the first steps and the last of each."""
    run = CLOSED.with_workload(batch=None, rate=2.0, requests=4, context=50, output_tokens=40, stop_share=0.0)
    launched: list[object] = []
    launch = HostThread._launch
    monkeypatch.setattr(HostThread, "_launch", lambda self, effect: (launched.append(effect), launch(self, effect))[1])
    summary = replace(run, machine="fast").timeline(mode, spans=False)
    assert len(summary.deliveries) == 4 * 40
    assert len(launched) < 40
    assert summary.deliveries == replace(run, machine="reference").timeline(mode).deliveries


@settings(max_examples=examples(8))
@given(run=runs(12), rate=st.sampled_from((300.0, 2_000.0, 2e4)), requests=st.integers(8, 20))
def test_rounds_that_a_loop_is_not_asked_for_are_equal(run: ServingRun, rate: float, requests: int) -> None:
    """So many requests that batches of every kind come again: they join and end, late or foreseen, wait and go."""
    many = run.with_workload(batch=None, rate=rate, requests=requests)
    for mode in ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph"):
        reference = replace(many, machine="reference").timeline(mode)
        summary = replace(many, machine="fast").timeline(mode, spans=False)
        assert (summary.deliveries, summary.served) == (reference.deliveries, reference.served)


@pytest.mark.parametrize("mode", ["serial-eager", "serial-graph", "overlap-eager", "overlap-graph"])
def test_a_loop_is_asked_once_for_each_kind_of_batch(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among two hundred requests that overlap, prompts, joins and ends are rounds like those before."""
    run = OPEN.with_workload(rate=500.0, requests=200, context=50, output_tokens=20, stop_share=0.5)
    launched: list[object] = []
    launch = HostThread._launch
    monkeypatch.setattr(HostThread, "_launch", lambda self, effect: (launched.append(effect), launch(self, effect))[1])
    summary = replace(run, machine="fast").timeline(mode, spans=False)
    assert len(launched) < len(summary.deliveries) / 20
    reference = replace(run, machine="reference").timeline(mode)
    assert (summary.deliveries, summary.served) == (reference.deliveries, reference.served)


@pytest.mark.parametrize("mode", ["serial-eager", "serial-graph", "overlap-eager", "overlap-graph"])
def test_a_server_that_falls_idle_among_rounds_that_no_loop_is_asked_for_waits_for_requests(mode: str) -> None:
    """A client who asks again after 2 us, which no round would notice that finds nothing to schedule."""
    lengths = {"context": 50, "output_tokens": 12, "stop_share": 0.0}
    run = OPEN.with_workload(rate=None, clients=1, think=2_000, requests=12, **lengths)
    reference = replace(run, machine="reference").timeline(mode)
    summary = replace(run, machine="fast").timeline(mode, spans=False)
    assert (summary.deliveries, summary.served) == (reference.deliveries, reference.served)
