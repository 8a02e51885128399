"""Slots: names for tokens that are not known yet, each with one owner at a time."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.serving.future_map import RequestSlots, SlotOverrunError, SlotRing, reference, slot_of


def test_a_reference_is_no_token_and_names_its_slot() -> None:
    assert [reference(slot) for slot in (0, 1, 7)] == [-1, -2, -8]
    assert [slot_of(token) for token in (-1, -8, 0, 7)] == [0, 7, None, None]


def test_steps_take_slots_one_after_the_other_and_never_split_a_piece() -> None:
    ring = SlotRing(8)
    assert ring.reserve(0, 3) == range(3)
    assert ring.reserve(1, 3) == range(3, 6)
    ring.release(0)
    assert ring.reserve(2, 3) == range(3)  # 6 and 7 stay unused in this round
    ring.release(1)
    assert ring.reserve(3, 5) == range(3, 8)
    assert (ring.num_live, ring.slots(2), ring.slots(3)) == (8, range(3), range(3, 8))


def test_a_slot_is_not_handed_out_while_its_step_is_in_flight() -> None:
    ring = SlotRing(4)
    ring.reserve(0, 2)
    ring.reserve(1, 2)
    with pytest.raises(SlotOverrunError, match=r"^step 2 would overwrite slots 0\.\.0 while step 0 still owns 0\.\.1$"):
        ring.reserve(2, 1)
    ring.release(0)
    assert ring.reserve(2, 2) == range(2)


def test_a_step_larger_than_the_ring_is_refused() -> None:
    with pytest.raises(SlotOverrunError, match=r"^step 0 needs 5 slots, the ring has 4$"):
        SlotRing(4).reserve(0, 5)


def test_a_step_reserves_once() -> None:
    ring = SlotRing(8)
    ring.reserve(0, 2)
    with pytest.raises(ValueError, match=r"^step 0 already holds slots$"):
        ring.reserve(0, 2)


def test_slots_of_a_step_are_released_once() -> None:
    ring = SlotRing(4)
    ring.reserve(0, 2)
    ring.release(0)
    assert ring.num_live == 0
    with pytest.raises(KeyError):
        ring.release(0)
    with pytest.raises(KeyError):
        ring.slots(0)


@given(st.integers(1, 4), st.integers(1, 6), st.data())
def test_a_ring_of_one_piece_more_than_is_live_never_overruns(num_live: int, rows: int, data: st.DataObject) -> None:
    """The piece more, less one slot, is what starting over at 0 can leave unused at the end."""
    ring = SlotRing((num_live + 1) * rows - 1)
    live: deque[tuple[int, range]] = deque()
    for owner, count in enumerate(data.draw(st.lists(st.integers(1, rows), max_size=30))):
        piece = ring.reserve(owner, count)
        assert len(piece) == count
        assert piece.stop <= ring.capacity
        assert all(set(piece).isdisjoint(other) for _, other in live)
        live.append((owner, piece))
        while len(live) == num_live or (live and data.draw(st.booleans())):
            ring.release(live.popleft()[0])
        assert ring.num_live == sum(len(other) for _, other in live)


def test_a_request_keeps_its_slot_for_life() -> None:
    slots = RequestSlots(2)
    assert (slots.acquire(10), slots.acquire(11)) == (0, 1)
    with pytest.raises(SlotOverrunError, match=r"^request 12 finds all 2 slots taken$"):
        slots.acquire(12)
    slots.release(10)
    assert slots.acquire(12) == 0
    assert (slots.slot(11), slots.slot(12), slots.num_live) == (1, 0, 2)


def test_a_request_owns_one_slot() -> None:
    slots = RequestSlots(2)
    slots.acquire(10)
    with pytest.raises(ValueError, match=r"^request 10 already holds a slot$"):
        slots.acquire(10)


def test_a_requests_slot_is_released_once() -> None:
    slots = RequestSlots(2)
    slots.acquire(10)
    slots.release(10)
    with pytest.raises(KeyError):
        slots.release(10)
    with pytest.raises(KeyError):
        slots.slot(10)


@pytest.mark.parametrize("kind", [SlotRing, RequestSlots])
def test_no_slots_at_all_are_refused(kind: type[SlotRing | RequestSlots]) -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        kind(0)


@given(st.lists(st.integers(0, 6), max_size=40))
def test_living_requests_never_share_a_slot(names: list[int]) -> None:
    """A request named again has ended; one that finds all slots taken stays out."""
    slots = RequestSlots(4)
    living: set[int] = set()
    for request in names:
        if request in living:
            slots.release(request)
            living.remove(request)
        elif len(living) < 4:
            slots.acquire(request)
            living.add(request)
        assert len({slots.slot(r) for r in living} & set(range(4))) == slots.num_live == len(living)
