"""How far a host drifted, in words that mean something."""

from __future__ import annotations

from sim.studies.validation.drift import drift_sentence, host_ranges


def test_a_cost_drifts_from_its_smallest_to_its_largest_and_slopes_do_not_count() -> None:
    found = host_ranges([{"gemm": 11_000, "receive": 3, "gemm_per_row": 1}, {"gemm": 16_500, "receive": 687}, {}])
    assert found == {"gemm": (11_000, 16_500), "receive": (3, 687)}


def test_what_costs_next_to_nothing_is_not_said_to_have_drifted_by_hundreds_of_times() -> None:
    said = drift_sentence({"gemm": (11_000, 16_500), "norm": (4_000, 4_400), "receive": (3, 687)})
    assert said == (
        "host costs between configurations: the largest is 1.10 times the smallest in the median, "
        "most of all gemm, 11.00 us to 16.50 us"
    )
    assert "prepare, 0.30 us to 69.00 us" in drift_sentence({"gemm": (11_000, 16_500), "prepare": (300, 69_000)})
