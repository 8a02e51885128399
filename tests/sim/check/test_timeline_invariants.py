"""Every invariant of timelines bites: a run that holds is broken by hand, and the invariant says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from check_worlds import changed, delivered, few_steps, find, two_streams, without

from gpu.session import open_session
from scenarios.loader import load_profile, load_scenario
from scenarios.shelf import SCENARIOS
from sim.check.invariant import BrokenError, Evidence
from sim.check.periods import PERIODS, steady_steps
from sim.check.relays import RELAYS
from sim.check.timelines import TIMELINES
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.studies.results import predict_modes
from sim.timeline.columns import load_timeline
from sim.timeline.spans import Kind, Place, Recorder

Break = Callable[[Evidence], Evidence]
ALL = dict.fromkeys(TIMELINES, TIMELINES) | dict.fromkeys(RELAYS, RELAYS)
MODES = ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")
RECORDED = Path(__file__).parent / "recorded"


def shifted(name: str, number: int, by: int) -> Break:
    def shift(evidence: Evidence) -> Evidence:
        row = find(evidence, name, number)
        _, start, end, *_ = evidence.timeline.table[row].tolist()
        return changed(evidence, row, start=start + by, end=end + by)

    return shift


def cut(name: str, number: int, **values: int) -> Break:
    return lambda evidence: changed(evidence, find(evidence, name, number), **values)


def served(**values: int) -> Break:
    def change(evidence: Evidence) -> Evidence:
        timeline = delivered(evidence.timeline)
        first, *others = timeline.served
        return replace(evidence, timeline=replace(timeline, served=(replace(first, **values), *others)))

    return change


def deliveries(**values: int) -> Break:
    def change(evidence: Evidence) -> Evidence:
        timeline = delivered(evidence.timeline)
        first, second = timeline.deliveries
        return replace(evidence, timeline=replace(timeline, deliveries=(first, replace(second, **values))))

    return change


def computed_after_delivery(evidence: Evidence) -> Evidence:
    timeline = replace(evidence, timeline=delivered(evidence.timeline))
    return changed(timeline, find(timeline, "side"), step=8, end=10_000)


def relay(step: int, name: str, *, start: int) -> Break:
    """Three steps of a copy there, resolve, store and copy back, one after the other; one span is moved."""

    def moved(evidence: Evidence) -> Evidence:
        recorder = Recorder()
        track = recorder.track("main", Place.STREAM)
        parts = (("Memcpy HtoD (Pinned)", 0, 3), ("resolve", 3, 5), ("store", 6, 8), ("Memcpy DtoH (Pinned)", 8, 9))
        for number in range(3):
            for part, begins, ends in parts:
                at = start - 10 * number - begins if (number, part) == (step, name) else 0
                times = (10 * number + begins + at, 10 * number + ends + at)
                recorder.span(
                    track, *times, Kind.MEMCPY if "Mem" in part else Kind.KERNEL, recorder.name(part), 0, number
                )
        return replace(evidence, timeline=recorder.timeline(), entries=None)

    return moved


BROKEN: tuple[tuple[str, Break, str], ...] = (
    ("monotone-clocks", cut("k", 0, end=1), "k of step 0 on main (9..1 ns) runs backwards"),
    ("monotone-clocks", shifted("cudaLaunchKernel", 0, -1), "begins before the run"),
    ("monotone-clocks", deliveries(time=3), "step 9 was delivered at 3 ns, step 8 at 183 ns"),
    ("monotone-clocks", deliveries(step=8), "step 8 was delivered"),
    ("monotone-clocks", served(first=-1), "request 0 arrived at 0, got its first token at -1"),
    ("one-thing-a-thread", shifted("cudaLaunchKernel", 2, -1), "while the thread is still in"),
    ("causality", shifted("k", 0, -5), "starts before its cause, cudaLaunchKernel of step 0 on host (0..5 ns)"),
    ("causality", lambda e: without(e, find(e, "cudaLaunchKernel", 0)), "was launched by no call"),
    ("causality", cut("k", 0, step=5), "k of step 5 on main (9..29 ns) was launched for another step"),
    ("nothing-lost", lambda e: without(e, find(e, "k", 2)), "launched work that never ran"),
    ("stream-order", shifted("k", 1, 60), "which overtook it"),
    ("stream-serial", shifted("k", 1, -3), "still runs"),
    ("queue-bound", shifted("k", 2, 100), "returned over a full queue, before k of step 0"),
    ("waits-are-honest", cut("side", 0, end=10_000), "cudaDeviceSynchronize on host"),
    ("waits-are-honest", computed_after_delivery, "step 8 reached clients at 183 ns, before side of step 8"),
    ("tokens-once", served(tokens=5), "steps delivered 3 tokens, requests received 6"),
    ("tokens-once", served(request=1), "request 1 ended twice"),
    ("tokens-once", deliveries(tokens=3), "step 9 delivered 3 tokens of 2 rows"),
    ("work-conservation", shifted("side", 0, 100), "longer before than latencies and gaps allow"),
    ("inputs-in-time", relay(2, "resolve", start=1), "Memcpy HtoD (Pinned) of step 2 on main (20..23 ns) has ended"),
    ("inputs-in-time", relay(2, "Memcpy DtoH (Pinned)", start=27), "store of step 2 on main (26..28 ns) has ended"),
    ("staging-kept", relay(2, "Memcpy HtoD (Pinned)", start=2), "resolve of step 0 on main (3..5 ns) still reads"),
    ("slots-written-first", relay(1, "resolve", start=7), "store of step 0 on main (6..8 ns) has ended"),
)


def test_a_run_of_the_machine_holds() -> None:
    evidence = two_streams()
    TIMELINES.hold(evidence)
    TIMELINES.hold(replace(evidence, timeline=delivered(evidence.timeline)))


@pytest.mark.parametrize(("name", "hand", "sentence"), BROKEN, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(BROKEN)])
def test_a_broken_run_is_told(name: str, hand: Break, sentence: str) -> None:
    told = [str(v) for v in ALL[name].broken(hand(two_streams()), [name])]
    assert any(sentence in text for text in told), told


def test_every_invariant_is_broken_by_one_of_them() -> None:
    untested = set(ALL) - {name for name, *_ in BROKEN}
    assert untested == {"idle-adds-up"}, "which compares two sums of one module: no timeline can break it"


def test_steps_that_pass_tokens_on_hold() -> None:
    assert not RELAYS.broken(relay(0, "resolve", start=3)(two_streams()))


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.npz")), ids=lambda path: path.stem)
def test_what_a_gpu_did_holds(path: Path) -> None:
    recorded = load_timeline(path)
    assert recorded.on_device.any()
    TIMELINES.hold(Evidence(recorded, simulated=False))
    RELAYS.hold(Evidence(recorded, simulated=False))


@pytest.mark.parametrize("mode", MODES)
def test_a_gpus_period_lies_between_floor_and_ceiling(mode: str) -> None:
    costs = HostCosts(Constants.profiled(load_profile("nvidia-h100")))  # recorded in a process that profiles
    evidence = Evidence(load_timeline(RECORDED / f"closed-{mode}.npz"), costs, simulated=False)
    found = steady_steps(evidence)
    assert found is not None
    assert (found.steps, found.ahead) == (6, mode.startswith("overlap"))
    assert not PERIODS.broken(evidence)


@pytest.mark.parametrize("mode", MODES)
def test_what_an_emulated_device_does_holds(mode: str) -> None:
    changes = ["model=tiny", "workload.batch=4", "workload.output_tokens=12", "engine.buckets=[4]"]
    timeline = open_session(load_scenario("decode-qwen3-0.6b", changes), "emulated").run(mode)
    evidence = Evidence(timeline, simulated=False)
    assert steady_steps(evidence) is not None
    assert not [*TIMELINES.broken(evidence), *RELAYS.broken(evidence), *PERIODS.broken(evidence)]


def test_a_gpu_starts_dependent_launches_under_the_tail_of_the_one_before() -> None:
    """The only overlap within a stream that was recorded: the reduction of cuBLASLt's split products."""
    recorded = load_timeline(RECORDED / "qwen3-0.6b-serial-eager.npz")
    found = list(TIMELINES["stream-serial"].find(Evidence(recorded)))
    assert len(found) > 5
    for _, (before, after) in found:
        (_, _, ended, *_, first, _, _), (_, began, *_, second, _, _) = recorded.table[[before, after]].tolist()
        assert ended - began < 200
        assert "splitK" in recorded.names[first]
        assert "splitKreduce" in recorded.names[second]


def test_an_invariant_without_its_evidence_is_not_asked() -> None:
    lone = replace(shifted("k", 2, 100)(two_streams()), costs=None)
    assert "queue-bound" not in {v.invariant for v in TIMELINES.broken(lone)}


def test_violations_name_the_spans_that_show_them() -> None:
    early = shifted("k", 0, -5)(two_streams())
    with pytest.raises(BrokenError) as broken:
        TIMELINES.hold(early, ["causality"])
    (violation,) = broken.value.violations
    assert early.timeline.span_names(early.timeline.table[list(violation.spans)]) == ["cudaLaunchKernel", "k"]


def test_a_measured_timeline_may_be_off_by_its_clocks_error() -> None:
    early = replace(shifted("k", 0, -8)(two_streams()), simulated=False)
    off = replace(early, timeline=replace(early.timeline, clock_error=2))
    assert not TIMELINES.broken(off, ["causality"])
    assert TIMELINES.broken(shifted("k", 0, -4)(off), ["causality"])


@pytest.mark.parametrize("name", SCENARIOS.names())
def test_shipped_scenarios_hold_in_all_modes(name: str) -> None:
    loaded = load_scenario(name, few_steps(name))
    for mode, timeline in predict_modes(loaded).timelines.items():
        evidence = Evidence(timeline, HostCosts(Constants.of(loaded.profile)))
        assert not [*TIMELINES.broken(evidence), *RELAYS.broken(evidence)], mode
