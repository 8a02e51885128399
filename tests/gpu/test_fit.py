"""Fits against planted values: tables are built from known constants, and the fit must find those again."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpu.calibration import fit
from gpu.calibration.fit_constants import Estimate, fit_constants, profiled_constants, step_gap
from gpu.calibration.fit_kernels import copy_costs
from gpu.calibration.measurements import Measurements, load
from gpu.calibration.regression import fit_roofline, shared_interval, theil_sen
from scenarios.errors import ScenarioError

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "gpu/results/nvidia-h200"
PRESETS_OF = "nvidia-h100"
"""Whose host the shipped presets have the costs of: the machine that was calibrated last."""

DURATIONS = {"add_out": 0.9, "mm_out": 1.9, "sleep5us": 5.5}
HOST = {"add_out": 6.0, "mm_out": 11.0, "sleep5us": 5.8}
SLOW = {"add_out": 1.1, "mm_out": 1.0, "sleep5us": 1.8}
"""By how much the host was slower while the graphs of a kernel were measured."""
PLANTED = {
    "launch_call": 4.3,
    "launch_latency": 2.5,
    "stream_gap": 1.1,
    "graph_gap": 0.25,
    "graph_join_gap": 0.55,
    "replay_gap": 1.3,
    "stream_switch": 1.2,
    "dispatch_interval": 1.05,
    "timed_event": 1.04,
    "event_record_call": 5.1,
    "event_wait_call": 0.8,
    "event_query_call": 1.5,
    "copy_call": 3.5,
    "copy_latency": 2.5,
    "event_sync_call": 0.7,
    "device_sync_call": 6.1,
    "wake_spin": 3.2,
    "wake_device": 4.7,
    "wake_blocking": 150.0,
    "graph_launch_call": 2.6,
    "graph_launch_call_per_1000_nodes": 0.9,
    "graph_launch_latency": 2.2,
    "graph_launch_latency_per_1000_nodes": 2.4,
    "first_replay": 19.0,
    "first_replay_per_1000_nodes": 1100.0,
    "gil_switch_interval": 5090.0,
    "gil_handoff": 40.0,
    "other_thread_call": 1.7,
    "queue_depth": 1021,
}
"""Microseconds, except the depth."""


def chains() -> list[dict[str, Any]]:
    """Chains of three kernels, one and a hundred of each, as a machine with the planted constants runs them."""
    c, rows = PLANTED, []
    for op, d in DURATIONS.items():
        for n in (1, 100):
            graph = n * d + (n - 1) * c["graph_gap"]
            call = c["graph_launch_call"] + c["graph_launch_call_per_1000_nodes"] * n / 1000
            call *= SLOW[op]
            late = c["graph_launch_latency"] + c["graph_launch_latency_per_1000_nodes"] * n / 1000
            e2e = call + late + graph + c["wake_device"]
            eager = HOST[op] * n + c["launch_latency"] + d + c["wake_device"]
            rows.append(
                {
                    "op": op,
                    "n": n,
                    "stream_gpu_us": n * d + n * c["stream_gap"] + c["timed_event"],
                    "graph_gpu_us": graph + 2.0,
                    "replay_host_busy": call,
                    "eager_host": HOST[op] * n,
                    "eager_e2e": eager,
                    "graph_e2e": e2e,
                }
            )
    return rows


def graph_launches() -> list[dict[str, Any]]:
    """Graphs of five bodies; one was measured while the host took twice as long."""
    c, rows = PLANTED, []
    for body, d in {"add": 1.0, "mm": 3.0, "sin": 1.4, "exp": 1.6, "forkjoin": 1.0}.items():
        gap = c["graph_join_gap"] if body == "forkjoin" else c["graph_gap"]
        for n in (100, 400, 800):
            call = c["graph_launch_call"] + c["graph_launch_call_per_1000_nodes"] * n / 1000
            pipelined = n * (d + gap) - c["graph_gap"] + c["replay_gap"]
            late = 5.0 + c["graph_launch_latency_per_1000_nodes"] * n / 1000
            host = 2 * call if body == "sin" else call
            rows.append(
                {"body": body, "n": n, "host_busy": host, "pipelined": pipelined, "e2e": pipelined + call + late}
            )
    return rows


def first_replays() -> list[dict[str, Any]]:
    """First replays of two kernels, one by as much dearer than planted as the other is cheaper; one row is wild."""
    rows = []
    for op, sign in (("add_out", -1), ("mm_out", 1)):
        once, per_1000 = PLANTED["first_replay"] + 2 * sign, PLANTED["first_replay_per_1000_nodes"] + 100 * sign
        extra = {n: once + per_1000 * n / 1000 for n in (1, 20, 50, 200, 500)}
        rows += [{"op": op, "nodes": n, "extra_us": {"p50": us}} for n, us in extra.items()]
    return [*rows, {"op": "mm_out", "nodes": 1000, "extra_us": {"p50": 500.0}}]


def world() -> Measurements:
    """Measurements of a machine with the planted constants."""
    c = PLANTED
    late = HOST["sleep5us"] + c["launch_latency"] + DURATIONS["sleep5us"] - 5

    def call(name: str, offset: float = 0.0) -> dict[str, float]:
        p50 = c[name] + offset
        return {"p1": 0.8 * p50, "p10": 0.9 * p50, "p50": p50, "p90": 1.2 * p50, "p99": 2.0 * p50}

    host_calls = {
        "sleep": call("launch_call"),
        "event_record": call("event_record_call", 0.1),
        "h2d_pinned": call("copy_call", 0.2),
        "d2h_pinned": call("copy_call"),
        "stream_wait": call("event_wait_call"),
        "event_query": call("event_query_call"),
    }
    again = host_calls | {"event_record": call("event_record_call", -0.1), "d2h_pinned": call("copy_call", -0.4)}
    launch = 5.4 + c["other_thread_call"]
    spacing = (c["gil_switch_interval"] + c["gil_handoff"] + launch) / 1000
    hops = {"same": [70.0, 70.0 + 40 * 6.6], "cross": [80.0, 80.0 + 40 * (6.6 + c["stream_switch"])]}
    after = {str(n): 6.0 + 0.2 * n for n in (100, 400, 800)}
    return Measurements(
        device={
            "chains": chains(),
            "sync_nothing": {"p50": c["device_sync_call"], "p90": 6.5},
            "first_blocked": c["queue_depth"],
            "graph_launch": graph_launches(),
            "hops": hops,
            "concurrency": [
                {"op": "add", "streams": k, "per_stream": 60, "us": 60 * k * c["dispatch_interval"] + 5} for k in (4, 8)
            ],
            "wake": {
                "spin": [late + c["wake_spin"], late + c["wake_spin"] + 1],
                "blocking": [late + c["wake_blocking"], late + c["wake_blocking"] + 9],
            },
        },
        host={
            "host_calls": host_calls,
            "host_calls_again": again,
            "first_replays": first_replays(),
            "synchronization": {"event_sync_nothing": call("event_sync_call")},
            "gil": {
                "alone_us": 5.4,
                "switch_interval_s": 0.005,
                "runs": [
                    {
                        "after_us": launch,
                        "during_at_ms": [5 + spacing * i for i in range(4)],
                        "first_after_ms": (c["gil_handoff"] + launch) / 1000,
                    },
                ],
            },
        },
        kernels={},
        layers={"rows": []},
        engine={},
        profiled={f"{op}_stream": {"dur": {"p50": d}} for op, d in DURATIONS.items()}
        | {"add_out_graph": {"gap": {"p50": PLANTED["graph_gap"]}}}
        | {"launches": {"op_before": 6.0, "op_after": 8.5, "graph_after": after}},
    )


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_constant_comes_back(name: str) -> None:
    assert fit_constants(world())[name].value == pytest.approx(PLANTED[name], abs=1e-9)


def test_planted_costs_of_a_process_that_has_profiled_come_back() -> None:
    m = world()
    found = {name: estimate.value for name, estimate in profiled_constants(m, fit_constants(m)).items()}
    planted = {"launch_call": 6.8, "graph_launch_call": 6.0, "graph_launch_call_per_1000_nodes": 200.0}
    assert found == pytest.approx(planted)


def test_costs_that_would_come_out_negative_are_zero() -> None:
    m = world()
    m.host["gil"]["runs"][0]["after_us"] = 5.0
    for row in m.device["graph_launch"]:
        row["e2e"] = row["pipelined"]
    fitted = fit_constants(m)
    assert fitted["other_thread_call"].value == 0
    assert fitted["graph_launch_latency_per_1000_nodes"].value == 0


def test_jitter_is_the_median_factor_of_each_quantile() -> None:
    points = [[0.0, 0.8], [0.1, 0.9], [0.5, 1.0], [0.9, 1.2], [0.99, 2.0], [1.0, 2.0]]
    assert fit.jitter(world())["quantiles"] == points


def copies_world() -> Measurements:
    """Copies of two sizes as machines with round constants make them."""
    rows = [
        {"bytes": 4, "h2d_us": 3.1, "d2h_us": 5.1, "d2d_us": 2.6, "pageable_h2d": 9.0, "pageable_d2h": 8.0},
        {"bytes": 1 << 20, "h2d_us": 27.1, "d2h_us": 25.1, "d2d_us": 4.1, "pageable_h2d": 119.0, "pageable_d2h": 109.0},
    ]
    return replace(world(), device={"copies": rows})


def test_copies_are_freed_of_events_and_calls_and_never_negative() -> None:
    values = {"timed_event": 1.0, "stream_gap": 1.1, "copy_call": 3.5, "copy_latency": 2.5, "wake_spin": 3.0}
    costs = copy_costs(copies_world(), {name: Estimate(us, "") for name, us in values.items()})
    assert costs["h2d"]["points"] == [["4B", "1us"], ["1MiB", "25us"]]
    assert costs["d2h"]["points"] == [["4B", "3us"], ["1MiB", "23us"]]
    assert costs["d2d"]["points"] == [["4B", "500ns"], ["1MiB", "2us"]]
    assert costs["pageable_h2d"]["points"] == [["4B", "0ns"], ["1MiB", "110us"]]
    assert costs["pageable_d2h"]["points"] == [["4B", "0ns"], ["1MiB", "100us"]]


@given(st.integers(-50, 50), st.integers(-50, 50), st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=2))
def test_a_line_survives_two_wild_points_of_ten(intercept: int, slope: int, wild: list[int]) -> None:
    points = [(float(x), float(intercept + slope * x)) for x in range(8)]
    line = theil_sen(points + [(8.0 + i, float(y)) for i, y in enumerate(wild)])
    assert (line.intercept, line.slope) == (intercept, slope)


def test_points_of_one_x_make_no_line() -> None:
    with pytest.raises(ValueError, match="differ in x"):
        theil_sen([(1.0, 2.0), (1.0, 3.0)])


@given(st.floats(50, 1000), st.floats(50, 1000))
def test_a_shared_interval_misses_both_totals_equally_on_opposite_sides(first: float, second: float) -> None:
    x, error = shared_interval((240, first), (480, second), 5.0)
    misses = [(240 * x + 5) / first - 1, (480 * x + 5) / second - 1]
    assert misses[0] == pytest.approx(-misses[1], abs=1e-9)
    assert error == pytest.approx(abs(misses[1]), abs=1e-9)


@given(st.floats(0.1, 20), st.floats(1e-10, 1e-8), st.floats(1e-7, 1e-5))
def test_a_roofline_with_both_slopes_comes_back(floor: float, per_flop: float, per_byte: float) -> None:
    ridge = per_byte / per_flop
    traffic = np.array([1e5, 1e6, 1e7, 1e8] * 2)
    flops = traffic * np.array([ridge / 8] * 4 + [ridge * 8] * 4)
    assume(traffic[-1] * per_byte > floor)
    measured = floor + np.maximum(flops * per_flop, traffic * per_byte)
    found = fit_roofline(flops, traffic, measured)
    assert found.at(flops, traffic) == pytest.approx(measured, rel=1e-6)
    assert (found.floor, found.per_flop, found.per_byte) == pytest.approx((floor, per_flop, per_byte), rel=1e-4)


@given(
    st.lists(st.tuples(st.integers(0, 10**15), st.integers(1, 10**9), st.integers(1, 10**6)), min_size=1, max_size=8)
)
def test_no_coefficient_of_a_roofline_is_negative(rows: list[tuple[int, int, int]]) -> None:
    flops, traffic, measured = np.array(rows, dtype=float).T
    found = fit_roofline(flops, traffic, measured)
    assert min(found.floor, found.per_flop, found.per_byte) >= 0
    assert found.floor + found.per_flop + found.per_byte > 0


@pytest.fixture(scope="module")
def measured() -> Measurements:
    return load(RESULTS)


@pytest.fixture(scope="module")
def document(measured: Measurements) -> dict[str, Any]:
    return fit.fit("nvidia-h200", measured)


@pytest.mark.parametrize("name", ["nvidia-h200", "nvidia-h100"])
def test_what_is_shipped_is_what_the_committed_measurements_give(name: str, tmp_path: Path) -> None:
    profile, *presets = fit.write(tmp_path / f"{name}.toml", load(ROOT / "gpu/results" / name))
    assert profile.read_bytes() == (ROOT / f"scenarios/hardware/{name}.toml").read_bytes()
    assert [path.name for path in presets] == [f"{name}-lean.toml", f"{name}-pytorch.toml"]
    for path in presets if name == PRESETS_OF else ():
        assert path.read_bytes() == (ROOT / "scenarios/engines" / path.name.removeprefix(f"{name}-")).read_bytes()


def test_the_gap_between_kernels_of_a_step_is_what_launching_one_by_one_adds_to_a_graph(measured: Measurements) -> None:
    """Planted: eleven kernels a layer, each followed by 0.3us in a graph and by 1.5us in a stream."""
    row = next(r for r in measured.layers["rows"] if r["phase"] == "decode")
    layer = (row["whole"] - row["without"]["half"]) / (row["layers"] / 2)
    stream = {"half": 100.0, "whole": 100.0 + row["layers"] / 2 * (layer + 11 * 1.2)}
    planted = replace(measured, layers=measured.layers | {"rows": [row, row | {"stream": stream}]})
    assert step_gap(planted, 0.3)["step_gap"].value == pytest.approx(1.5)
    without = replace(measured, layers=measured.layers | {"rows": [row]})
    assert step_gap(without, 0.3) == {}


def test_a_written_profile_reads_back_as_it_was(document: dict[str, Any]) -> None:
    def without_empty_lists(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_empty_lists(inner) for key, inner in value.items() if inner != []}
        return value

    assert tomllib.loads(fit.dump(document)) == without_empty_lists(document)


def test_a_folder_that_lacks_a_table_or_holds_an_error_is_refused(tmp_path: Path) -> None:
    for path in RESULTS.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "kernels.json").unlink()
    (tmp_path / "host.json").write_text(json.dumps({"gil": {"error": "RuntimeError('no thread')"}}))
    with pytest.raises(ScenarioError) as refused:
        load(tmp_path)
    assert [str(problem) for problem in refused.value.problems] == [
        f"{tmp_path}/host.json: gil: could not be measured: RuntimeError('no thread')",
        f"{tmp_path}/kernels.json: no such file, expected what the calibration writes",
    ]
