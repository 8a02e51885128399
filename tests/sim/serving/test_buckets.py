"""Buckets: a batch runs in the smallest graph that holds it."""

from __future__ import annotations

import pytest

from sim.serving.batch import Batch, Phase
from sim.serving.buckets import Buckets


def test_a_batch_takes_the_smallest_bucket_that_holds_it() -> None:
    buckets = Buckets([1, 2, 4, 8])
    assert [buckets.fit(rows) for rows in range(1, 10)] == [1, 2, 4, 4, 8, 8, 8, 8, None]


def test_padding_is_what_the_bucket_has_too_many() -> None:
    batch = Batch(0, Phase.DECODE, rows=5, tokens=5, decode_context=50, members=())
    assert batch.padding == 0
    batch.bucket = 8
    assert batch.padding == 3


@pytest.mark.parametrize("sizes", [(), (0, 1), (2, 2), (4, 2), (-1,)])
def test_sizes_that_are_not_rising_counts_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="strictly increasing and at least 1"):
        Buckets(sizes)
