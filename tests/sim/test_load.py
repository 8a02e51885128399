"""How full a server was: literal deliveries, and sums that hold in any run."""

from __future__ import annotations

import numpy as np
import pytest

from sim.timeline.load import LoadOverTime, load_metrics
from sim.timeline.spans import Delivery, Recorder, Served, Timeline


def world() -> Timeline:
    """Two requests: the second waits for the first one's blocks."""
    recorder = Recorder()
    for time, rows, tokens, kv, padding in ((20, 1, 1, 4, 0), (40, 2, 1, 6, 2), (60, 1, 1, 2, 3), (100, 1, 1, 2, 3)):
        delivery = Delivery(
            time, 0, rows, tokens, prefill=False, kv_blocks=kv, preempted=rows - 1, cached=5, padding=padding
        )
        recorder.deliveries.append(delivery)
    recorder.served.append(Served(0, 0, 20, 40, 2, "length", context=16, scheduled=5))
    recorder.served.append(Served(1, 10, 60, 100, 2, "length", context=24, scheduled=45))
    return recorder.timeline()


def test_the_load_of_four_deliveries() -> None:
    assert load_metrics(world()) == {
        "batch_mean": 1.25, "batch_max": 2, "kv_blocks_mean": 3.5, "kv_blocks_max": 6,
        "preemptions": 1, "prefix_hits": 0.5, "late_rows": 1, "padding_rows": 8,
    }  # fmt: skip


def test_the_load_over_time_in_five_pieces() -> None:
    found = LoadOverTime.of(world(), pieces=5)
    assert found.until.tolist() == [20, 40, 60, 80, 100]
    np.testing.assert_equal(found.batch, [1, 2, 1, np.nan, 1])
    np.testing.assert_equal(found.kv_blocks, [4, 6, 2, np.nan, 2])
    assert found.waiting.tolist() == [1, 1, 0, 0, 0]
    assert found.running.tolist() == [1, 0, 1, 1, 0]


def test_pieces_hold_all_deliveries_but_for_those_before_the_first_arrival() -> None:
    found = LoadOverTime.of(world(), pieces=3)
    assert found.batch.tolist() == [1, pytest.approx(1.5), 1]
    assert LoadOverTime.of(world(), pieces=2).kv_blocks.tolist() == [6, 2]  # the most of 4 and 6
