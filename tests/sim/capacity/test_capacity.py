"""The sustained rate of servers whose queue has a closed form, and what it says when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario
from sim.cli import main
from sim.studies.capacity.slo import Bound, parse_slo
from sim.studies.capacity.study import Capacity, CapacityStudy, Point
from sim.studies.serving import ServingRun

MS = 1_000_000
TIMER = ["engine.max_batch=1", "engine.modes=serial-eager", "workload.output_tokens=1"]
SMALL = [
    "model=tiny",
    "workload.rate=1000/s",
    "workload.requests=30",
    "workload.context=20",
    "workload.output_tokens=6",
]


Capture = pytest.CaptureFixture[str]


def sets(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


VERB = ["capacity", "decode-qwen3-0.6b", *sets(*SMALL)]


def study(slo: str, *overrides: str, scenario: str = "sleep-overlap", replications: int = 3) -> CapacityStudy:
    return CapacityStudy(ServingRun.of(load_scenario(scenario, overrides)), parse_slo(slo), replications, 0.02)


def test_a_server_of_one_request_at_a_time_sustains_what_the_queue_m_d_1_says() -> None:
    """Mean wait of a Poisson queue with constant service S: W = r S^2 / (2 (1 - r S)), so r = 2 W / (S^2 + 2 W S).

    A step of the timers takes S = 16.01 ms, of which the first 4 ms schedule and so count as queue time.
    """
    service, wait = 0.016011, 0.020 - 0.004
    expected = 2 * wait / (service**2 + 2 * wait * service)
    found = study("queue_mean<20ms", *TIMER, "workload.rate=10/s", "workload.requests=1000").of("serial-eager")
    assert found.bracket.width <= 0.02
    assert (found.bracket.low * found.bracket.high) ** 0.5 == pytest.approx(expected, rel=0.05)
    assert found.reason.startswith("queue_mean ")


def test_at_a_constant_interval_a_server_sustains_all_that_it_can_serve() -> None:
    """Nobody waits for another until the interval is shorter than the 16.01 ms of a request."""
    regular = (*TIMER, "workload.rate=10/s", "workload.requests=300", "workload.arrivals=constant")
    found = study("queue_p99<5ms", *regular, replications=1).of("serial-eager")
    assert found.bracket.low <= 1 / 0.01601 < found.bracket.high
    assert found.gpus(200) == (4, 4)  # 62.46 a second each


def test_without_a_bound_that_bites_the_queue_itself_is_the_limit() -> None:
    found = study("tpot_p99<1s", *TIMER, "workload.rate=10/s", "workload.requests=300", replications=1).of(
        "serial-eager"
    )
    assert found.reason == "requests queue up without end"
    assert found.at(found.bracket.high).numbers["saturated"]
    assert not found.at(found.bracket.low).numbers["saturated"]


def test_an_slo_that_a_request_alone_breaks_is_met_at_no_rate() -> None:
    found = study("ttft_p99<15ms", *TIMER, "workload.rate=10/s", "workload.requests=20").of("serial-eager")
    assert (found.bracket.low, found.points, found.gpus(1)) == (0, (), None)
    assert found.reason == "ttft_p99 16.01 ms for a request that is served alone"


def test_every_draw_of_a_rate_is_another() -> None:
    point = study("ttft_p99<1s", *SMALL, scenario="decode-qwen3-0.6b").point("serial-graph", 2_000.0)
    assert len({draw["ttft_mean_us"] for draw in point.draws}) == 3


def test_a_draw_in_which_requests_pile_up_does_not_hold() -> None:
    fine, late = {"ttft_p99_us": 900.0, "saturated": False}, {"ttft_p99_us": 1100.0, "saturated": False}
    point = Point(1.0, (fine, late, fine | {"saturated": True}), fine)
    assert point.num_holding(parse_slo("ttft_p99<1ms")) == 1


def test_every_rate_serves_the_same_requests_closer_together() -> None:
    one = study("ttft_p99<1s", *SMALL, scenario="decode-qwen3-0.6b")
    slow, fast = (one.run.with_workload(rate_scale=scale).requests().take(1 << 62) for scale in (1, 4))
    assert [r.context for r in slow] == [r.context for r in fast]
    assert [r.arrival / 4 for r in slow] == pytest.approx([r.arrival for r in fast], abs=1)


def test_a_rate_that_changes_is_the_mean_over_the_requests_that_come() -> None:
    """Half as fast for the first second: of 30 requests at 20/s, 10 come in it and 20 in the next."""
    slow = ["workload.rate=20/s", 'workload.ramp=[["0s",0.5],["1s",0.5],["1s",1.0]]', "workload.rate_scale=3"]
    one = study("ttft_p99<1s", *SMALL, *slow, scenario="decode-qwen3-0.6b")
    assert one.natural == pytest.approx(3 * 30 / 2)
    one = study("ttft_p99<1s", *SMALL, "workload.rate_scale=3", scenario="decode-qwen3-0.6b")
    assert one.natural == pytest.approx(3_000)


def test_the_rate_of_a_trace_is_counted_and_scaled(tmp_path: Path) -> None:
    rows = "".join(f"2023-11-16 18:00:{second:02d},20,6\n" for second in range(0, 40, 2))
    (tmp_path / "a.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    one = study("ttft_p99<1s", "model=tiny", f"workload.trace={tmp_path / 'a.csv'}", scenario="decode-qwen3-0.6b")
    assert one.natural == pytest.approx(0.5)
    assert one.point("serial-graph", 100.0).numbers["requests_per_s"] == pytest.approx(100, rel=0.1)


def test_a_short_run_is_told_how_long_it_should_have_been() -> None:
    def shown(requests: int) -> Capacity:
        return study("e2e_p99<10s", *TIMER, "workload.rate=1/s", f"workload.requests={requests}").of("serial-eager")

    assert shown(300).too_short is None
    few = study("e2e_p50<1s", "workload.rate=1/s", "workload.requests=10", "engine.modes=serial-eager").of(
        "serial-eager"
    )
    rate, seconds = few.bracket.low, few.at(few.bracket.low).numbers["e2e_mean_us"] / 1e6
    assert few.too_short is not None
    assert few.too_short - 1 < 5 * rate * seconds <= few.too_short  # so many come while a request is served five times


def test_one_request_never_fills_a_server() -> None:
    found = study("ttft_p99<1s", *TIMER, "workload.rate=1/s", "workload.requests=1").of("serial-eager")
    assert found.bracket.high == float("inf")
    assert found.reason == "nothing gives way: so few requests never fill the server"
    assert found.gpus(5) == (1, 1)


def test_requests_of_a_trace_that_arrive_together_do_so_at_any_rate(tmp_path: Path) -> None:
    rows = "".join(f"2023-11-16 18:00:{second:02d},5,1\n" for second in (0, 0, 0, 5, 5, 5))
    (tmp_path / "a.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    slo = "queue_p50<10ms"  # one at a time in 16 ms, of which 4 schedule: the second of three waits for 20
    found = study(slo, "engine.max_batch=1", f"workload.trace={tmp_path / 'a.csv'}").of("serial-eager")
    assert found.alone.holds(found.slo)
    assert found.bracket.low == 0
    assert found.reason.startswith("queue_p50 20.0")
    assert found.reason.endswith("where those that arrive at one instant still do")


def test_bounds_as_they_are_written() -> None:
    assert parse_slo("ttft_p99<500ms, tpot_mean<=40us") == (
        Bound("ttft", "p99", 500 * MS),
        Bound("tpot", "mean", 40_000),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slo", "ttft_p99<500"], "--slo: found '500', expected a duration with a unit"),
        (["--slo", "ttfp_p99<5ms"], "--slo: found 'ttfp', expected one of 'ttft', 'tpot', 'itl', 'e2e' or 'queue'"),
        (["--slo", "ttft_p95<5ms"], "--slo: found 'p95', expected one of 'mean', 'p50', 'p90' or 'p99' after the _"),
        (["--slo", "fast"], "--slo: found 'fast', expected conditions such as 'ttft_p99<500ms,tpot_p99<40ms'"),
        (["--slo", "ttft_p99<1s", "--target-rate", "-1"], "--target-rate: found '-1', expected requests a second"),
        (["--slo", "ttft_p99<1s", "--target-rate", "9/d"], "--target-rate: found '9/d', expected requests a second"),
        (["--slo", "ttft_p99<1s", "--modes", "fast"], "--modes: found 'fast', expected 'naive', "),
        (["--slo", "ttft_p99<1s", "--presets", "fast"], "--presets: found 'fast', expected a shipped"),
        (["--slo", "ttft_p99<1s", "--replications", "0"], "--replications: found 0, expected at least 1"),
        (["--slo", "ttft_p99<1s", "--precision", "0"], "--precision: found 0, expected 0.1 to 50 percent"),
        (["--slo", "ttft_p99<1s"], "decode-qwen3-0.6b: workload: found 'batch', expected 'rate' or 'trace'"),
    ],
)
def test_bad_input_is_one_line(capsys: Capture, arguments: list[str], message: str) -> None:
    assert main(["capacity", "decode-qwen3-0.6b", *arguments]) == 2
    err = capsys.readouterr().err
    assert f"overlapsim: {message}" in err
    assert len(err.splitlines()) == 1


def test_the_verb_prints_one_line_a_mode_and_writes_its_curves(capsys: Capture, tmp_path: Path) -> None:
    words = ["capacity", "decode-qwen3-0.6b", *sets(*SMALL), "--slo", "ttft_p90<2ms,tpot_p99<1ms"]
    words += [
        "--modes",
        "serial-graph,overlap-graph",
        "--precision",
        "20",
        "--replications",
        "2",
        "--target-rate",
        "1e5",
    ]
    assert main([*words, "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "SLO ttft_p90 < 2ms, tpot_p99 < 1ms"
    assert lines[2].split() == ["mode", "sustains", "fails", "at", "draws", "that", "hold", "GPUs", "for", "100000/s"]
    assert [line.split()[0] for line in lines[3:5]] == ["serial-graph", "overlap-graph"]
    answer = json.loads((tmp_path / "capacity.json").read_text())
    rows = (tmp_path / "capacity.csv").read_text().splitlines()
    assert rows[0].startswith("mode,rate_per_s,holds,saturated,ttft_mean_us,")
    for mode, found in answer["modes"].items():
        rates = [point["rate"] for point in found["points"]]
        assert rates[0] == 0
        assert rates == sorted(rates)
        assert sum(row.startswith(f"{mode},") for row in rows) == len(rates) - 1
        held = {point["rate"]: point["holds"] for point in found["points"]}
        assert held[found["sustained_per_s"]]
        assert not held[found["fails_at_per_s"]]
        assert found["gpus"][0] >= 1e5 / found["sustained_per_s"] > found["gpus"][0] - 1
    assert (tmp_path / "capacity.png").read_bytes().startswith(b"\x89PNG")


def test_the_answer_is_no_when_no_mode_keeps_the_slo(capsys: Capture) -> None:
    assert (
        main(["capacity", "decode-qwen3-0.6b", *sets(*SMALL), "--slo", "tpot_p50<1us", "--modes", "serial-graph"]) == 1
    )
    assert "serial-graph meets it at no rate: tpot_p50 " in capsys.readouterr().out


def test_presets_are_compared_by_name(capsys: Capture) -> None:
    words = [
        "capacity",
        "decode-qwen3-0.6b",
        *sets(*SMALL),
        "--slo",
        "tpot_p50<1us",
        "--modes",
        "serial-graph",
        "--json",
    ]
    assert main([*words, "--presets", "lean,sglang"]) == 1
    assert list(json.loads(capsys.readouterr().out)["modes"]) == ["lean serial-graph", "sglang serial-graph"]


def test_a_request_longer_than_the_cache_is_refused(capsys: Capture) -> None:
    words = [
        "capacity",
        "decode-qwen3-0.6b",
        *sets("workload.rate=1/s", "workload.context=99999999"),
        "--slo",
        "ttft_p99<1s",
    ]
    assert main(words) == 2
    assert "workload: request 0 needs 1000000" in capsys.readouterr().err.replace("100000064", "1000000064")


def test_a_trace_at_one_instant_has_no_rate(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"timestamp": 0, "input_length": 5, "output_length": 5}\n' * 3)
    with pytest.raises(ScenarioError, match="arrive at one instant"):
        study("ttft_p99<1s", f"workload.trace={tmp_path / 'a.jsonl'}")
