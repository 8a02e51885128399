"""Chains of 1 to 900 kernels on an H200, one by one and as a graph; constants come from 1 and 100 kernels only."""

from measured_rows import beyond, h200, median_error, shown

from sim.effects import Launch
from sim.studies.micro import comparison, programs

DRIFTED = "add_out eager 300"


def test_chains_come_out_within_2_5_percent_in_the_median_and_12_at_worst() -> None:
    rows = [row for row in shown(comparison.chains(h200())) if row.name != DRIFTED]
    fitted, held_out = [r for r in rows if r.fitted], [r for r in rows if not r.fitted]
    assert (len(fitted), len(held_out)) == (12, 29)
    assert median_error(fitted) <= 2.5
    assert median_error(held_out) <= 2.5
    assert beyond(rows, 12) == {}


def test_the_chain_left_out_was_measured_while_the_host_was_slow() -> None:
    def host_us_an_op(n: int) -> float:
        return float(h200().chain("add_out", n)["eager_host"]["median_us"]) / n

    assert host_us_an_op(300) > 1.4 * host_us_an_op(100)
    assert host_us_an_op(300) > 1.4 * host_us_an_op(900)
    drifted = h200().chain("add_out", 300)
    scale = drifted["eager_host"]["median_us"] / 300 / host_us_an_op(100)
    predicted = programs.chain(h200().kernel("add_out"), 300).predict(h200().scaled(scale)) / 1000
    assert abs(predicted / drifted["eager_e2e"]["median_us"] - 1) < 0.02


def test_first_replays_of_30_kernels_and_more_come_out_within_20_percent() -> None:
    rows = shown(comparison.first_replays(h200()))
    assert len(rows) == 12
    assert beyond(rows, 20) == {}


def test_900_kernels_behind_3ms_take_host_time_where_launching_them_outlasts_the_shield() -> None:
    rows = shown(comparison.unshielded(h200()))
    assert beyond(rows, 5) == {}
    kernel = h200().kernel("add_out")
    longer = programs.behind_shield(h200().sleep(30_000), [Launch([kernel] * 900, programs.MAIN)])
    device_us = longer.predict(h200().costs) / 1000
    measured = h200().chain("add_out", 900)["stream_gpu_us"]
    assert device_us < 0.7 * measured
    assert abs(device_us / (9 * h200().chain("add_out", 100)["stream_gpu_us"]) - 1) < 0.01
