"""What holds in every run of a serving scenario: order, cause before effect, and tokens that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_worlds import tiny, tiny_open

from scenarios.errors import ScenarioError
from scenarios.loader import LoadedScenario
from sim.studies.serving import ServingRun
from sim.timeline.metrics import step_metrics
from sim.timeline.spans import Kind, Place, Timeline

MODES = ("naive", "serial-eager", "serial-graph", "overlap-eager", "overlap-graph")

flags = st.sampled_from(("true", "false"))
engines = st.builds(
    lambda *parts: tuple(parts),
    flags.map("engine.late_stop_token={}".format),
    flags.map("engine.late_stop_length={}".format),
    st.sampled_from(("ring", "request-slot")).map("engine.future_map={}".format),
    st.sampled_from(("forward", "separate")).map("engine.copy_stream={}".format),
    st.sampled_from(("0", "0.3", "1")).map("workload.stop_share={}".format),
    flags.map("host.jitter={}".format),
    st.sampled_from(("[1]", "[2, 4]", "[3]")).map("engine.buckets={}".format),
)
scenarios = st.one_of(
    st.builds(lambda b, n, more: tiny(*more, batch=b, tokens=n), st.integers(1, 4), st.integers(1, 6), engines),
    st.builds(
        lambda rate, policy, limit, more: tiny_open(
            f"workload.rate={rate}/s", f"engine.batching={policy}", f"engine.token_budget={limit}", *more
        ),
        st.sampled_from((200, 20_000, 10**6)),
        st.sampled_from(("prefill-first", "decode-first")),
        st.sampled_from((10, 45, 8_192)),
        engines,
    ),
)
SOME = settings(max_examples=25)


def check_order(timeline: Timeline) -> None:
    """No track overlaps itself; a stream works off its launches in order; nothing starts before its call returned."""
    table = timeline.table
    calls = {row[5]: row[2] for row in table[(table[:, 3] == Kind.CALL) & (table[:, 5] != 0)].tolist()}
    for number, track in enumerate(timeline.tracks):
        rows = table[table[:, 0] == number]
        assert (rows[1:, 1] >= rows[:-1, 2]).all()
        if track.place is Place.STREAM:
            assert (np.diff(rows[:, 5]) >= 0).all()
            assert (np.diff(rows[:, 6]) >= 0).all()
            assert all(start >= calls[correlation] for _, start, _, _, _, correlation, _ in rows.tolist())


def check_deliveries(timeline: Timeline) -> None:
    """Steps are delivered in order, each after the last thing that the device did for it."""
    times = [d.time for d in timeline.deliveries]
    assert times == sorted(times)
    assert [d.step for d in timeline.deliveries] == list(range(len(times)))
    device = timeline.table[timeline.on_device]
    last = [device[device[:, 6] == d.step][:, 2].max() for d in timeline.deliveries]
    assert all(end <= time for end, time in zip(last, times, strict=True))


def num_late(timeline: Timeline, loaded: LoadedScenario) -> int:
    """Rows that overlap must waste: of requests whose end was not foreseen, where the next step decodes them again."""
    workload = loaded.scenario.workload  # type: ignore[union-attr]
    step_at = {d.time: d.step for d in timeline.deliveries}
    decodes = {d.step for d in timeline.deliveries if not d.prefill}
    late = 0
    for served in timeline.served:
        limit = workload.output_tokens if served.reason == "stop" else served.tokens
        ends_in_prefill = limit == 1 and workload.batch is None
        unforeseen = loaded.engine.late_stop_length or served.tokens < limit
        late += unforeseen and not ends_in_prefill and step_at[served.last] + 1 in decodes
    return late


@SOME
@given(scenarios, st.sampled_from(MODES), st.integers(0, 9))
def test_order_causes_and_tokens_of_any_run(loaded: LoadedScenario, mode: str, seed: int) -> None:
    timeline = ServingRun.of(loaded, seed).timeline(mode)
    check_order(timeline)
    check_deliveries(timeline)
    executed, emitted = sum(d.rows for d in timeline.deliveries), sum(s.tokens for s in timeline.served)
    assert executed == emitted + (num_late(timeline, loaded) if mode.startswith("overlap") else 0)
    assert emitted == sum(d.tokens for d in timeline.deliveries)
    for served in timeline.served:
        assert served.arrival < served.first <= served.last


@SOME
@given(scenarios, st.integers(0, 9))
def test_a_request_gets_the_same_tokens_in_every_mode(loaded: LoadedScenario, seed: int) -> None:
    run = ServingRun.of(loaded, seed)
    found = [{s.request: s.tokens for s in run.timeline(mode).served} for mode in MODES]
    assert found == [found[0]] * len(MODES)


@SOME
@given(scenarios, st.sampled_from(MODES), st.integers(0, 9))
def test_idle_parts_add_up_to_the_idle_time(loaded: LoadedScenario, mode: str, seed: int) -> None:
    closed = loaded.scenario.workload.batch is not None  # type: ignore[union-attr]
    found = step_metrics(ServingRun.of(loaded, seed).timeline(mode), closed=closed)
    start, end = found.window
    assert round((found.busy_ns + sum(found.idle.values())) * found.steps) == end - start
    assert found.busy_ns + sum(found.idle.values()) == pytest.approx(found.step_ns)


def test_a_stop_that_cannot_be_foreseen_costs_overlap_a_row_and_serial_none() -> None:
    loaded = tiny("workload.stop_share=1", batch=4, tokens=40)
    run = ServingRun.of(loaded)
    late = {mode: step_metrics(run.timeline(mode)).late_rows for mode in MODES}
    assert late == {"naive": 0, "serial-eager": 0, "serial-graph": 0, "overlap-eager": 4, "overlap-graph": 4}


def test_graphs_launch_once_what_eager_launches_one_by_one() -> None:
    run = ServingRun.of(tiny(batch=4))
    eager, graph = (step_metrics(run.timeline(mode)) for mode in ("serial-eager", "serial-graph"))
    assert eager.kernels == graph.kernels == 26  # embedding, two layers of eleven, final norm, logits, sampling
    assert (eager.launches, graph.launches) == (26 + 3, 2 + 3)  # two copies and the step's event


def test_a_request_that_never_fits_is_the_workloads_fault() -> None:
    loaded = tiny("workload.context=999999999")
    with pytest.raises(ScenarioError, match=r"workload: request 0 needs 1000000010 tokens of KV cache"):
        ServingRun.of(loaded).timeline("serial-eager")


def test_a_closed_batch_that_does_not_fit_is_refused_with_the_largest_that_does() -> None:
    run = ServingRun.of(tiny("workload.context=9999999", batch=2000))
    with pytest.raises(ScenarioError, match=rf"workload.batch: found 2000, expected at most {run.largest_batch}: "):
        run.timeline("serial-eager")
    assert run.with_workload(batch=run.largest_batch).timeline("serial-graph").deliveries[0].rows == run.largest_batch
