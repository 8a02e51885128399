"""Verdicts and trust from literal measurements."""

import json
from pathlib import Path

import pytest

from gpu.doctor.compared import CALLS, calls, spread, waits
from gpu.doctor.report import Line, Report, at_most, close, same
from scenarios.loader import load_profile

RESULTS = Path(__file__).parents[3] / "gpu/results/nvidia-h200/2026-11-23"
FAMILIES = RESULTS / "families.json"
H200 = load_profile(str(RESULTS / "profile.toml"))


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (close("x", 5.0, 4.0, "us", "host", 1.25), "ok"),
        (close("x", 5.1, 4.0, "us", "host", 1.25), "off by 1.27x"),
        (close("x", 2.0, 4.0, "us", "host", 1.25), "off by 2.00x"),
        (same("x", "A", "A"), "ok"),
        (same("x", "A", "B"), "differs"),
        (at_most("x", 0.1, 0.25, "", "spread"), "ok"),
        (at_most("x", 3.0, 2.0, "GiB", "must"), "too much"),
        (Line("x", 1.0, None, "MHz", "told", None), "not compared"),
    ],
)
def test_a_line_s_verdict(line: Line, verdict: str) -> None:
    assert line.verdict == verdict


def test_half_the_range_over_the_median() -> None:
    assert spread([10.0] * 11) == 0
    assert spread([8.0, 9.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 13.0, 99.0]) == 0.2


def report(*lines: Line) -> Report:
    return Report("cuda", "nvidia-h200", list(lines))


HOST = [close("a", us, 10.0, "us", "host", 1.25) for us in (9.0, 11.0, 30.0)]
DRIFT = at_most("drift", 0.05, 0.25, "", "spread")
COPY = close("copy", 3.88, 4.0, "TB/s", "device", 1.1)


def test_trust_is_the_median_call_s_distance_plus_the_drift_and_the_worst_device_line() -> None:
    found = report(*HOST, DRIFT, COPY)
    assert found.host_bound == pytest.approx(0.15)
    assert found.device_bound == pytest.approx(0.03)
    assert found.trustworthy
    assert found.summary() == "host-bound predictions: ±15%, device-bound: ±3%; trusted here today"


@pytest.mark.parametrize(
    "line",
    [
        at_most("drift", 0.3, 0.25, "", "spread"),
        close("copy", 3.0, 4.0, "TB/s", "device", 1.1),
        close("b", 30.0, 10.0, "us", "host", 1.25),
        same("GPU", "NVIDIA A100", "NVIDIA H200", "must"),
    ],
)
def test_one_bad_line_of_any_kind_that_counts_is_enough_to_trust_nothing(line: Line) -> None:
    found = report(*HOST, DRIFT, COPY, line)
    assert not found.trustworthy
    assert "not to be trusted here today" in found.summary()


def test_what_must_hold_and_does_not_is_named_and_what_is_told_decides_nothing() -> None:
    gpu = same("GPU", "NVIDIA A100", "NVIDIA H200", "must")
    assert report(*HOST, DRIFT, COPY, gpu).summary().endswith("(fails: GPU)")
    assert report(*HOST, DRIFT, COPY, same("driver", "1", "2")).trustworthy


def test_without_a_device_nothing_is_said_of_the_profile() -> None:
    assert report(DRIFT).summary() == "the host's pace holds: ±5%; how far it is from the profile, a GPU must tell"


def test_rounds_of_calls_at_the_profile_s_own_costs_are_ok_and_their_drift_is_seen() -> None:
    costs = {name: getattr(H200.constants, constant).value / 1000 for name, constant in CALLS.items()}
    rounds = [{name: us * factor for name, us in costs.items()} for factor in (1.0, 1.0, 1.0, 1.2, 1.2, 1.0)]
    *each, drift = calls(rounds, H200.constants)
    assert [line.verdict for line in each] == ["ok"] * len(CALLS)
    assert (drift.part, drift.found) == ("spread", pytest.approx(0.1))


def test_the_committed_measurements_of_the_profile_s_own_machine_are_trusted() -> None:
    families = json.loads(FAMILIES.read_text())
    rounds = [{name: families[part][name]["p50"] for name in CALLS} for part in ("host_calls", "host_calls_again")]
    found = report(*calls(rounds, H200.constants), *waits(families["synchronization"], H200.constants), COPY)
    verdicts = {line.what: line.verdict for line in found.lines}
    assert verdicts["cudaDeviceSynchronize"] == "ok"
    assert verdicts["call: event record"] == "ok"
    assert found.trustworthy


def test_a_device_wait_as_late_as_a_blocking_one_blocks() -> None:
    late = {"event_spin": 10.0, "device_sync": 110.0, "event_blocking": 120.0}
    measured = {f"sleep1000_{kind}": {"p50": us} for kind, us in late.items()}
    measured |= {"event_sync_nothing": {"p50": 0.7}, "device_sync_nothing": {"p50": 6.0}}
    kind, blocking, *_ = waits(measured, H200.constants)
    assert (kind.found, kind.verdict, kind.part) == ("blocks", "differs", "must")
    assert (blocking.found, blocking.verdict) == (110.0, "off by 1.78x")
