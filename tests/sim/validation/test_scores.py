"""Scores against numbers computed by hand, and what no unit of time may change."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from validation_worlds import case

from sim.studies.noise import noise
from sim.studies.validation.predictors import (
    ALWAYS_HELPS,
    IN_PROCESS,
    PREDICTORS,
    SHIPPED,
    SUM_OF_PARTS,
    best_known,
    promised,
    summed,
)
from sim.studies.validation.results_file import Case, ClientMetric
from sim.studies.validation.scores import (
    Spread,
    Verdicts,
    comparisons,
    counted_error,
    error_of,
    score,
    typical_case,
    verdict,
    worst_cases,
)

# noise: the 10th and 90th percentiles of 5 lie 0.4 of the way from the ends to their neighbours
STEADY = [1000, 1000, 1000, 1000, 1000]
SPREAD = [900, 950, 1000, 1050, 1100]  # p10 920, p90 1080


def test_noise_is_half_the_range_from_the_10th_to_the_90th_percentile() -> None:
    assert noise(STEADY) == 0
    assert noise(SPREAD) == 80
    assert noise([7]) == 0


def test_an_error_counts_with_what_exceeds_half_the_noise() -> None:
    one = case("serial-eager", 1100, SPREAD)
    assert error_of(one, SHIPPED) == 0.1000000000000000888  # 1100 / 1000 - 1
    assert counted_error(one, SHIPPED) == 0.1000000000000000888 - 0.04
    assert counted_error(case("serial-eager", 970, SPREAD), SHIPPED) == 0
    assert error_of(one, IN_PROCESS) is None
    assert counted_error(one, IN_PROCESS) is None


FOUR = [
    case("serial-eager", 2000, [2000] * 5),
    case("serial-graph", 1000, [1250] * 5),  # 1.6x, said 2x
    case("overlap-eager", 1990, [2080] * 5),  # hurts, said to help
    case("overlap-graph", 1000, [1250] * 5),  # as serial-graph
]


def summed_up(found: Verdicts) -> tuple[int, ...]:
    """Right, of how many, right and of how many among the clear ones, and how many without a gain."""
    return found.right, found.of, found.clear_right, found.clear, found.no_gain


def test_a_mode_is_compared_with_serial_eager_and_overlap_graph_with_serial_graph_too() -> None:
    found = [(c.case.mode, c.base.mode, c.speedup, c.verdict) for c in comparisons(FOUR)]
    assert found == [
        ("serial-graph", "serial-eager", 1.6, "helps"),
        ("overlap-eager", "serial-eager", 2000 / 2080, "hurts"),
        ("overlap-graph", "serial-eager", 1.6, "helps"),
        ("overlap-graph", "serial-graph", 1.0, "no difference"),
    ]
    programs = [case("eager", 3, [3] * 5, quantity="total"), case("graph", 2, [2] * 5, quantity="total")]
    assert [(c.case.mode, c.base.mode, c.speedup) for c in comparisons(programs)] == [("graph", "eager", 1.5)]
    assert list(comparisons([*FOUR[1:2], case("serial-eager", 1, [1], set=("other=1",))])) == []


def test_verdicts_use_the_noise_of_the_repeats_speedups() -> None:
    """A host that drifts by a tenth under both modes leaves the speedups of the repeats, and so the verdict, alone."""
    base, mode = case("serial-eager", 1000, SPREAD), case("serial-graph", 960, [855, 950, 950, 1050, 1045])
    (one,) = comparisons([base, mode])
    # 1.0526, 1.0, 1.0526, 1.0, 1.0526: 10th and 90th percentile 1.0 and 1.0526
    assert one.noise == pytest.approx((20 / 19 - 1) / 2 / (20 / 19))
    assert one.speedup == 1000 / 950  # three of five
    assert one.verdict == "helps"
    assert one.predicted_verdict(SHIPPED) == "helps"  # 1.042x
    assert verdict(1.02, one.noise) == verdict(1 / 1.02, one.noise) == "no difference"
    assert verdict(1 / 1.03, one.noise) == "hurts"
    assert verdict(1 / 1.105, 0.1) == verdict(1 / 1.5, 0.4) == "hurts"  # as far below as what helps lies above
    assert verdict(1 / 1.095, 0.1) == "no difference"
    assert verdict(1.0, 0.0) == "no difference"


def test_modes_of_waiting_clients_are_compared_by_throughput() -> None:
    def seen(mode: str, predicted: float, measured: float) -> Case:
        metric = ClientMetric(predicted=predicted, predicted_in_process=None, measured=(measured,) * 5)
        return case(mode, 1000, [1000] * 5, clients={"tokens_per_s": metric}, speedup_of="tokens_per_s")

    (one,) = comparisons([seen("serial-eager", 100, 90), seen("overlap-eager", 95, 81)])
    assert (one.speedup, one.verdict) == (0.9, "hurts")
    assert (one.predicted(SHIPPED), one.predicted_verdict(SHIPPED)) == (0.95, "hurts")
    assert one.predicted(SUM_OF_PARTS) == 1.0  # knows times only
    assert one.predicted(IN_PROCESS) is None


def test_a_score_is_the_spread_of_errors_by_group_and_the_verdicts() -> None:
    found = score(FOUR, SHIPPED)
    sizes = [0.0, 0.2, 90 / 2080, 0.2]
    expected = Spread(2, sizes[2] / 2, sizes[2] / 2, 0.95 * sizes[2], sizes[2])
    assert astuple(found.plain["eager modes"]) == pytest.approx(astuple(expected))
    assert round(found.plain["all"].mean, 9) == round(sum(sizes) / 4, 9)
    assert round(found.plain["graph modes"].worst, 9) == 0.2
    assert "programs" not in found.plain
    assert found.counted == found.plain  # no noise
    assert summed_up(found.verdicts) == (3, 4, 2, 3, 2)
    assert found.verdicts.counts["hurts"] == {"helps": 1, "no difference": 0, "hurts": 0}
    assert found.speedups is not None
    # 2/1.6, (2000/1990)/(2000/2080), 2/1.6, 1/1
    assert round(found.speedups.mean, 9) == round((0.25 + 2080 / 1990 - 1 + 0.25 + 0) / 4, 9)


def test_what_is_not_predicted_is_not_scored() -> None:
    known = case("eager", 10, [10] * 5, quantity="total", predicted_in_process_ns=12)
    found = score([known, case("graph", 10, [10] * 5, quantity="total")], IN_PROCESS)
    assert found.plain["programs"].cases == 1
    assert found.verdicts.of == 0
    assert found.speedups is None


def test_the_best_known_prediction_is_in_process_where_there_is_one() -> None:
    with_it = case("serial-eager", 10, [10], predicted_in_process_ns=12)
    without = case("serial-eager", 10, [10])
    assert best_known([with_it]) is IN_PROCESS
    assert best_known([without]) is SHIPPED
    mixed = best_known([with_it, without])
    assert [mixed.ns(with_it), mixed.ns(without)] == [12, 10]


def test_naive_predictors_are_made_of_the_parts() -> None:
    assert {one.mode: promised(one) for one in FOUR} == {
        "serial-eager": 20 + 30 + 50,
        "serial-graph": 20 + 50,
        "overlap-eager": 30 + 50,
        "overlap-graph": 50,
    }
    assert {summed(one) for one in FOUR} == {20 + 30 + 50}
    assert summed_up(score(FOUR, ALWAYS_HELPS).verdicts) == (2, 4, 2, 3, 2)
    assert summed_up(score(FOUR, SUM_OF_PARTS).verdicts) == (1, 4, 0, 3, 2)


def test_worst_and_typical_cases_go_by_the_counted_error() -> None:
    noisy = case("serial-eager", 1100, SPREAD, name="noisy")  # 6 % beyond half the noise
    plain = case("serial-eager", 1070, STEADY, name="plain")
    exact = case("serial-eager", 1000, STEADY, name="exact")
    cases = [exact, noisy, plain]
    assert [one.name for one in worst_cases(cases, SHIPPED, 2)] == ["plain", "noisy"]
    assert typical_case(cases, SHIPPED).name == "noisy"


times = st.integers(10_000, 10_000_000)
MODES = ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")


@st.composite
def worlds(draw: st.DrawFn) -> list[Case]:
    """One configuration in all modes, every fifth repeat out of line."""
    cases = []
    for mode in MODES:
        middle = draw(times)
        repeats = [middle, middle, middle, middle + draw(st.integers(0, 2000)), middle - draw(st.integers(0, 2000))]
        cases.append(case(mode, draw(times), repeats, predicted_in_process_ns=draw(times)))
    return cases


def scaled(one: Case, factor: int) -> Case:
    measured = [factor * ns for ns in one.measured_ns]
    parts = {name: factor * ns for name, ns in one.parts.model_dump().items()}
    return case(
        one.mode,
        factor * one.predicted_ns,
        measured,
        predicted_in_process_ns=factor * (one.predicted_in_process_ns or 0),
        noise_ns=factor * one.noise_ns,
        parts=type(one.parts)(**parts),
    )


@given(worlds(), st.sampled_from([2, 4, 1024]))
def test_scaling_all_times_changes_neither_errors_nor_verdicts(cases: list[Case], factor: int) -> None:
    longer = [scaled(one, factor) for one in cases]
    for predictor in PREDICTORS:
        assert score(longer, predictor) == score(cases, predictor)


@given(worlds())
def test_a_perfect_prediction_has_no_error_and_every_verdict_right(cases: list[Case]) -> None:
    perfect = [one.model_copy(update={"predicted_ns": round(one.measured)}) for one in cases]
    found = score(perfect, SHIPPED)
    assert found.plain["all"].worst == 0
    assert found.verdicts.right == found.verdicts.of == 4


@given(worlds())
def test_scores_keep_their_bounds(cases: list[Case]) -> None:
    for predictor in PREDICTORS:
        found = score(cases, predictor)
        for group, plain in found.plain.items():
            counted = found.counted[group]
            assert 0 <= counted.mean <= plain.mean <= plain.worst
            assert plain.median <= plain.p95 <= plain.worst * (1 + 1e-9)
        v = found.verdicts
        assert v.clear_right <= min(v.right, v.clear)
        assert v.right <= v.of == 4
    always = score(cases, ALWAYS_HELPS).verdicts
    assert always.right == always.of - always.no_gain
