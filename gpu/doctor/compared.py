"""What was measured of host calls and of waits, held against a profile's constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from gpu.doctor.report import HOST_LIMIT, Line, at_most, close, same
from scenarios.profile import Constants

CALLS = {
    "sleep": "launch_call",
    "event_record": "event_record_call",
    "stream_wait": "event_wait_call",
    "event_query": "event_query_call",
    "h2d_pinned": "copy_call",
    "d2h_pinned": "copy_call",
    "replay": "graph_launch_call",
}
"""Host calls that are repeated over the run, and the constant that each must agree with."""


def calls(rounds: Sequence[Mapping[str, float]], constants: Constants) -> Iterator[Line]:
    """Host calls against their constants, and how they drifted; a round is each call's median (us)."""
    for name, constant in CALLS.items():
        expected = getattr(constants, constant).value / 1000
        found = median(row[name] for row in rounds)
        yield close(f"call: {name.replace('_', ' ')}", found, expected, "us", "host", 1.25)
    usual = {name: median(row[name] for row in rounds) for name in CALLS}
    drift = spread([median(row[name] / usual[name] for name in CALLS) for row in rounds])
    yield at_most("drift of host calls", drift, HOST_LIMIT, "", "spread")


def waits(measured: Mapping[str, Mapping[str, float]], constants: Constants) -> Iterator[Line]:
    """What kind of wait each synchronize is, by how much later than a spinning event it returns (us).

    What launching the work takes is the same in all of them, so that only differences are compared.
    """
    spin, device, blocking = (
        measured[f"sleep1000_{kind}"]["p50"] for kind in ("event_spin", "device_sync", "event_blocking")
    )
    kind = "spins" if device - spin < (blocking - spin) / 2 else "blocks"
    yield same("cudaDeviceSynchronize", kind, "spins", "must")
    wake = {name: getattr(constants, name).value / 1000 for name in ("wake_spin", "wake_device", "wake_blocking")}
    yield close(
        "a blocking wait, later by", blocking - spin, wake["wake_blocking"] - wake["wake_spin"], "us", "told", 1.5
    )
    for name, constant in (("event_sync_nothing", "event_sync_call"), ("device_sync_nothing", "device_sync_call")):
        expected = getattr(constants, constant).value / 1000
        yield close(name.replace("_", " "), measured[name]["p50"], expected, "us", "host", 1.5)


def spread(rounds: Sequence[float]) -> float:
    """Half the range from p10 to p90, as a share of the median."""
    ordered = sorted(rounds)
    low, high = (ordered[round(p * (len(ordered) - 1))] for p in (0.1, 0.9))
    return (high - low) / 2 / median(rounds)
