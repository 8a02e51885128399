"""What is told of the host around the launches of steps, from runs whose times are written here."""

from __future__ import annotations

from statistics import median

import pytest

pytest.importorskip("torch")

from gpu.calibration.stopwatch import Steady, Stopwatch
from sim.timeline.rows import Rows
from sim.timeline.spans import Delivery, Kind, Place, Recorder

STEPS, STEP, ORIGIN = 12, 1_000_000, 5_000_000


def steps(first: str, launches: int, slower: float, neighbour: tuple[int, ...] = ()) -> tuple[Steady, Stopwatch]:
    """A batch that decodes: 8 us of scheduling, 20 us to fill the inputs, launches of 10 us, 30 us of processing.

    The server's work and the inputs take ``slower`` times as long, and in the steps of a neighbour everything thrice.
    """
    watch, recorder = Stopwatch(), Recorder()
    watch._watching = 0
    host = recorder.track("scheduler", Place.HOST_THREAD)
    deliveries = Rows(Delivery)
    for step in range(STEPS):
        factor = 3 if step in neighbour else 1
        now = start = step * STEP

        def span(name: str, ns: float, kind: Kind = Kind.HOST, step: int = step) -> None:
            nonlocal now
            recorder.span(host, now, now + round(ns), kind, recorder.name(name), 0, step)
            now += round(ns)

        for name, ns in (("receive", 1_000), ("schedule", 8_000), ("prepare", 2_000)):
            span(name, ns * slower * factor)
        at = now + round(20_000 * slower * factor)
        for number in range(launches):
            watch.launches.append((ORIGIN + at, 10_000 * factor, "norm" if number else first))
            at += 10_000 * factor
        span("launch", at - now, Kind.CALL)
        watch.times["fetch"].append(round(5_000 * slower * factor))
        span("process", 30_000 * slower * factor)
        span("cudaEventSynchronize", start + STEP - now, Kind.WAIT)
        deliveries.add(now, step, 2, 2, False, 0, 0, 0, 2, 0)
    recorder.deliveries = deliveries
    return Steady.of(recorder.timeline(ORIGIN)), watch


def test_the_schedulers_work_is_what_is_no_launch_and_no_wait() -> None:
    steady, watch = steps("replay", 3, 1.0)
    assert steady.work(watch) == {"receive": 1_000, "schedule": 8_000, "prepare": 22_000, "process": 35_000}
    assert steady.around(watch, "replay") == 66_000


def test_an_eager_step_takes_its_server_longer_however_many_launches_follow_the_first() -> None:
    (eager, watch), (replayed, other) = steps("embedding", 40, 1.5), steps("replay", 3, 1.0)
    assert eager.around(watch, "embedding") - replayed.around(other, "replay") == 33_000


def test_inputs_are_told_from_launches_beside_a_neighbour_who_takes_every_fourth_step() -> None:
    steady, watch = steps("replay", 3, 1.0, neighbour=(1, 5, 9))
    told = watch.besides(steady.spans["launch"])
    assert set(told) == {20_000, 60_000}
    assert median(told) == 20_000
