"""The KV cache: blocks are handed out whole, to one request at a time, and all of them come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.serving.kv_cache import KVCache


def test_tokens_take_whole_blocks() -> None:
    kv = KVCache(8, block_tokens=4)
    assert [kv.blocks_for(tokens) for tokens in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]


def test_blocks_freed_last_are_handed_out_first() -> None:
    kv = KVCache(6, block_tokens=4)
    assert kv.allocate(0, 8) == [0, 1]
    assert kv.allocate(1, 5) == [2, 3]
    kv.free(0)
    assert kv.num_free == 4
    assert kv.allocate(2, 12) == [0, 1, 4]
    assert (kv.table(1), kv.table(2), kv.num_free) == ([2, 3], [0, 1, 4], 1)


def test_what_fits_is_counted_in_free_blocks() -> None:
    kv = KVCache(3, block_tokens=4)
    kv.allocate(0, 4)
    assert [kv.blocks_for(tokens) for tokens in (0, 1, 4, 8, 9)] == [0, 1, 1, 2, 3]
    assert kv.num_free == 2


def test_a_request_that_does_not_fit_takes_nothing() -> None:
    kv = KVCache(2, block_tokens=4)
    with pytest.raises(ValueError, match=r"^request 0 needs 3 blocks, 2 are free$"):
        kv.allocate(0, 9)
    assert kv.num_free == 2


def test_a_request_holds_one_table() -> None:
    kv = KVCache(4)
    kv.allocate(0, 16)
    with pytest.raises(ValueError, match=r"^request 0 already holds blocks$"):
        kv.allocate(0, 16)


def test_blocks_are_freed_once() -> None:
    kv = KVCache(4)
    kv.allocate(0, 16)
    kv.free(0)
    with pytest.raises(KeyError):
        kv.free(0)
    with pytest.raises(KeyError):
        kv.table(0)


@pytest.mark.parametrize(("num_blocks", "block_tokens"), [(0, 16), (4, 0)])
def test_a_cache_without_room_is_refused(num_blocks: int, block_tokens: int) -> None:
    with pytest.raises(ValueError, match=f"got {num_blocks} and {block_tokens}$"):
        KVCache(num_blocks, block_tokens)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 20)), max_size=40))
def test_every_block_is_free_or_in_one_table(calls: list[tuple[int, int]]) -> None:
    """A request named again gives its blocks back; the next time it asks anew."""
    kv = KVCache(10, block_tokens=3)
    holders: set[int] = set()
    for request, tokens in calls:
        if request in holders:
            kv.free(request)
            holders.remove(request)
        elif kv.blocks_for(tokens) <= kv.num_free:
            assert len(kv.allocate(request, tokens)) == -(-tokens // 3)
            holders.add(request)
        held = [block for holder in holders for block in kv.table(holder)]
        assert len(set(held)) == len(held)
        assert kv.num_free == 10 - len(held)
    for holder in holders:
        kv.free(holder)
    assert sorted(kv.allocate(9, 30)) == list(range(10))
