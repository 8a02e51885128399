"""Several servers behind a router: each does what it would do alone, and the router sees what is so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario
from sim.cli import main
from sim.serving.batch import Batch, Outputs, Phase
from sim.serving.request import Reason, Request
from sim.serving.router import LeastLoaded, RoundRobin
from sim.serving.source import RequestSource
from sim.studies.fleet import Fleet, ServerSource
from sim.studies.results import run_all
from sim.studies.servers import timelines, tokens_per_s
from sim.studies.serving import ServingRun
from sim.timeline.spans import Timeline

SMALL = ["model=tiny", "workload.context=20", "workload.output_tokens=6", "workload.requests=14"]
END_OF_TIME = 1 << 62
SOME = settings(max_examples=20)


def fleet(*overrides: str, seed: int = 0, machine: str = "auto") -> ServingRun:
    loaded = load_scenario("decode-qwen3-0.6b", [*SMALL, *overrides])
    return ServingRun.of(loaded, seed, machine)  # type: ignore[arg-type]


rates = st.sampled_from(("workload.rate=200/s", "workload.rate=4000/s", "workload.rate=100000/s"))
knobs = st.lists(
    st.sampled_from(("workload.stop_share=0.5", "engine.max_batch=2", "engine.late_stop_length=true", "host.scale=0")),
    unique=True,
)
modes = st.sampled_from(("serial-eager", "overlap-graph"))


@SOME
@given(rates, knobs, modes, st.integers(0, 9), st.integers(2, 4))
def test_servers_in_turn_are_servers_by_themselves(
    rate: str, more: list[str], mode: str, seed: int, count: int
) -> None:
    run = fleet(rate, *more, f"replicas.count={count}", seed=seed)
    together = timelines(run, mode)
    source = run.requests()
    requests = source.take(END_OF_TIME)
    for number, timeline in enumerate(together):
        own = RequestSource(requests[number::count], source._stops)
        assert timeline == run.timeline(mode, source=own)


def loads_at(servers: list[Timeline], request: int, arrival: int) -> list[int]:
    """Of each server the requests that came before this one and were not answered in full when it came."""
    return [sum(s.request < request and s.last > arrival for s in server.served) for server in servers]


@SOME
@given(rates, knobs, modes, st.integers(0, 9), st.integers(2, 4))
def test_the_least_loaded_server_is_that_by_what_all_of_them_had_answered(
    rate: str, more: list[str], mode: str, seed: int, count: int
) -> None:
    run = fleet(rate, *more, f"replicas.count={count}", "replicas.router=least-loaded", seed=seed)
    servers = timelines(run, mode)
    served = sorted((s.request, s.arrival, number) for number, server in enumerate(servers) for s in server.served)
    assert [request for request, _, _ in served] == list(range(14))
    for request, arrival, number in served:
        loads = loads_at(servers, request, arrival)
        assert loads[number] == min(loads)


def test_what_is_answered_at_the_very_instant_is_no_load_any_more() -> None:
    source = RequestSource([Request(0, 5, 1)])
    server = ServerSource(Fleet(source, RoundRobin(), 1), source)
    server.give(Request(0, 5, 1))
    batch = Batch(0, Phase.PREFILL, 1, 5, 0, ())
    server.react(Outputs(batch, 1, (), ((Request(0, 5, 1), 1, Reason.LENGTH),), 0, ()), 700)
    assert [server.load(time) for time in (0, 699, 700, 701)] == [1, 1, 0, 0]


@SOME
@given(rates, knobs, modes, st.sampled_from(("round-robin", "least-loaded")), st.integers(0, 9))
def test_the_fast_machine_equals_the_reference(rate: str, more: list[str], mode: str, router: str, seed: int) -> None:
    sets = (rate, *more, "replicas.count=3", f"replicas.router={router}")
    fast, reference = (timelines(fleet(*sets, seed=seed, machine=name), mode) for name in ("fast", "reference"))
    assert [(t.served, t.deliveries) for t in fast] == [(t.served, t.deliveries) for t in reference]
    assert all((a.table == b.table).all() for a, b in zip(fast, reference, strict=True))


@pytest.mark.parametrize("router", ["round-robin", "least-loaded"])
def test_clients_in_a_closed_loop_ask_again_when_any_server_has_answered(router: str) -> None:
    run = fleet("workload.clients=4", "workload.think=1ms", "replicas.count=3", f"replicas.router={router}")
    served = {s.request: s for server in timelines(run, "serial-graph") for s in server.served}
    assert sorted(served) == list(range(14))
    for number, one in served.items():
        before = served.get(number - 4)
        assert one.arrival == (0 if before is None else before.last + 1_000_000)


def test_a_run_that_a_machine_refuses_is_taken_by_the_other_as_a_whole() -> None:
    run = fleet("workload.rate=4000/s", "replicas.count=2", "engine.preset=sglang-v0.4")
    found = timelines(run, "overlap-graph")
    assert {(t.machine, t.refusal) for t in found} == {("reference", "several host threads")}
    assert sum(len(t.served) for t in found) == 14


def test_a_request_that_fits_nowhere_ends_all_servers() -> None:
    with pytest.raises(ScenarioError, match="needs 1000000006 tokens"):
        timelines(fleet("workload.rate=4000/s", "workload.context=999999999", "replicas.count=3"), "serial-eager")


def test_a_closed_batch_has_no_router() -> None:
    with pytest.raises(ScenarioError, match=r"replicas.count: found 2, expected 1 beside workload.batch"):
        load_scenario("decode-qwen3-0.6b", ["replicas.count=2"])


def test_several_servers_are_simulated_only(capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for text in (*SMALL, "workload.rate=4000/s", "replicas.count=2") for word in ("--set", text)]
    assert main(["run", "decode-qwen3-0.6b", *sets, "--on", "emulated"]) == 2
    assert (
        "replicas.count: found 2, expected 1 on emulated: several servers are simulated only" in capsys.readouterr().err
    )


def test_the_numbers_are_those_of_all_servers() -> None:
    loaded = load_scenario("decode-qwen3-0.6b", [*SMALL, "workload.rate=4000/s", "replicas.count=2"])
    results = run_all(loaded, replications=1)
    servers = timelines(ServingRun.of(loaded), "serial-eager")
    found = results.modes["serial-eager"]
    assert found["requests_each"] == [7, 7]
    assert found["tokens_per_s"] == pytest.approx(tokens_per_s(servers))
    first, last = (f(s.arrival if f is min else s.last for t in servers for s in t.served) for f in (min, max))
    assert found["tokens_per_s"] == pytest.approx(14 * 6 * 1e9 / (last - first), rel=1e-6)
    assert found["batch_max"] == max(d.rows for t in servers for d in t.deliveries)
    waits = sorted(s.first - s.arrival for t in servers for s in t.served)
    assert found["ttft_mean_us"] == pytest.approx(sum(waits) / 14_000, abs=1e-3)


def test_routers_by_hand() -> None:
    request = Request(0, 1, 1)
    turns = RoundRobin()
    assert [turns(request, [5, 0, 0]) for _ in range(4)] == [0, 1, 2, 0]
    least = LeastLoaded()
    assert [least(request, loads) for loads in ([1, 0, 2], [1, 1, 1], [0, 1, 0], [0, 1, 0])] == [1, 0, 2, 0]
