"""What is found in a cache: distances against closed forms, and programs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from scenarios.ops import Ops
from sim.program.cache import Cache, found_by_op, found_shares

MB = 10**6
CACHE = Cache(whole=30 * MB, none=50 * MB)
OPS: TypeAdapter[Any] = TypeAdapter(Ops)


def in_turn(number: int, nbytes: int) -> list[float]:
    """What buffers of one size find that are used in turn, over and over."""
    return found_shares([[(buffer, nbytes)] for buffer in range(number)], CACHE)


def test_buffers_in_turn_find_by_their_sum() -> None:
    """The distance of each is all of them."""
    assert in_turn(3, 10 * MB) == [1.0] * 3
    assert in_turn(4, 10 * MB) == [0.5] * 4
    assert in_turn(5, 10 * MB) == [0.0] * 5
    assert in_turn(1, 35 * MB) == [1 - 3 / 16 + 2 / 64]  # a quarter of the way down the smooth step


def test_to_and_fro_the_last_is_found_and_the_first_is_not() -> None:
    """Distances 20, 40, 60 from one turning point, the same from the other."""
    row = [[(buffer, 20 * MB)] for buffer in (0, 1, 2, 1)]
    assert found_shares(row, CACHE) == [0.0, 0.5, 0.0, 0.5]


def test_a_kernel_finds_the_mean_of_its_buffers_by_their_bytes() -> None:
    streamed = [[("kept", 10 * MB), (number, 30 * MB)] for number in range(3)]
    assert found_shares(streamed, CACHE) == [0.5 * 10 / 40] * 3


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=3), max_size=8))
def test_rounds_are_alike_from_the_second_on_and_shares_are_shares(row: list[list[tuple[int, int]]]) -> None:
    cache = Cache(whole=20, none=60)
    once, twice = found_shares(row, cache), found_shares(row * 2, cache)
    assert twice == once * 2
    assert all(0 <= share <= 1 for share in once)


def test_equal_ops_share_their_tensors_and_others_do_not() -> None:
    def product(n: int) -> dict[str, Any]:
        return {"op": "matmul", "m": 32, "n": n, "k": 2048}

    same = OPS.validate_python([{"op": "repeat", "times": 100, "ops": [product(2048)]}])
    assert list(found_by_op([same], CACHE).values()) == [1.0]
    graph = OPS.validate_python([{"op": "graph", "replays": 3, "ops": [product(n) for n in range(2048, 2058)]}])
    assert list(found_by_op([graph], CACHE).values()) == [0.0] * 10
