"""Durations from a profile: a measured table where there is one, a roofline elsewhere."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.loader import load_profile
from scenarios.profile import KernelCost, KernelTable, Profile
from sim.program.decode_curve import QueryWork
from sim.program.durations import Durations
from sim.program.grid import interpolate, interpolate_many

H200 = load_profile("nvidia-h200")
ROOFLINE = KernelCost.model_validate({"floor": "1us", "flops": "1TFLOP/s", "bandwidth": "100GB/s", "source": "made up"})
SHAPE = (64, 32)

rising = st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True).map(sorted)
Points = tuple[tuple[int, int], ...]


@st.composite
def tables(draw: st.DrawFn) -> Points:
    """Measured points in ascending order; durations rise and fall, as measurements do."""
    rows = draw(rising)
    return tuple((n, draw(st.integers(1, 10**8))) for n in rows)


def profile(points: Points = ()) -> Profile:
    table = (KernelTable.model_construct(shape=SHAPE, points=points),) if points else ()
    gemm = ROOFLINE.model_copy(update={"table": table})
    return H200.model_copy(update={"kernels": {**H200.kernels, "gemm": gemm}})


def product(durations: Durations, rows: int, shape: tuple[int, int] = SHAPE) -> int:
    n, k = shape
    nbytes = 2 * (n * k + rows * (n + k))
    return durations.kernel("p", "gemm", "gemm", flops=2 * rows * n * k, nbytes=nbytes, rows=rows, shape=shape).ns


def roofline(rows: int) -> float:
    n, k = SHAPE
    return 1_000 + max(2 * rows * n * k / 1e3, 2 * (n * k + rows * (n + k)) / 100)


@given(tables())
def test_at_measured_rows_the_table_decides(points: Points) -> None:
    durations = Durations(profile(points))
    assert [product(durations, rows) for rows, _ in points] == [ns for _, ns in points]


@given(tables())
def test_between_measured_rows_durations_go_one_way(points: Points) -> None:
    durations = Durations(profile(points))
    for (left, first), (right, last) in pairwise(points):
        some = range(left, right + 1, max(1, (right - left) // 20))
        between = [product(durations, rows) for rows in some]
        assert between == sorted(between, reverse=last < first)
        assert min(first, last) <= min(between) <= max(between) <= max(first, last)


@given(tables(), st.integers(1, 20_000))
def test_a_duration_never_jumps(points: Points, rows: int) -> None:
    """From one row to the next it changes at most by the steepest line in the table, or in proportion."""
    slopes = [abs(b - a) / (right - left) for (left, a), (right, b) in pairwise(points)]
    here, there = (interpolate(points, n) for n in (rows, rows + 1))
    assert abs(there - here) <= max([points[-1][1] / points[-1][0], *slopes]) * (1 + 1e-9)


@given(tables(), st.integers(1, 50_000))
def test_beyond_the_table_the_rooflines_ratio_goes_on_from_its_end(points: Points, more: int) -> None:
    edge, measured = points[-1]
    rows = edge + more
    n, k = SHAPE
    traffic = 2 * (n * k + rows * (n + k)) * edge // rows
    at_edge = 1_000 + max(2 * edge * n * k / 1e3, traffic / 100)
    found = product(Durations(profile(points)), rows)
    assert isclose(found, measured * roofline(rows) / at_edge, rel_tol=1e-6, abs_tol=1)
    assert measured <= found <= measured * rows / edge + 1


def test_far_beyond_the_table_twice_the_rows_take_twice_the_time() -> None:
    durations = Durations(profile(((1, 5_000), (64, 7_000))))
    assert product(durations, 2 * 10**9) / product(durations, 10**9) == pytest.approx(2, rel=1e-5)


@given(st.integers(1, 1_000))
def test_below_the_table_durations_fall_at_most_in_proportion(rows: int) -> None:
    durations = Durations(profile(((1_000, 500_000),)))
    assert 500 * rows - 1 <= product(durations, rows) <= product(durations, rows + 1) <= 501_000


@given(st.integers(1, 100_000))
def test_another_shape_takes_the_roofline(rows: int) -> None:
    durations = Durations(profile(((1, 77), (8, 99))))
    assert product(durations, rows, (32, 64)) == round(roofline(rows))


def test_a_copys_table_is_constant_before_its_first_point_and_in_proportion_beyond_its_last() -> None:
    at = partial(interpolate, ((4, 100), (400, 1_000), (4_000, 1_000)))
    assert [at(n) for n in (1, 4, 400, 2_000, 8_000)] == pytest.approx([100, 100, 1_000, 1_000, 2_000])
    assert at(103) == pytest.approx(325)  # a quarter of the way from 4 to 400


def test_points_at_zero_are_points_like_others() -> None:
    assert interpolate(((0, 100), (10, 200)), 5) == 150
    assert interpolate(((1, 0), (11, 200)), 6) == 100


@given(tables(), st.integers(1, 20_000), st.floats(0.01, 100))
def test_scale_multiplies_kernels_and_leaves_engine_copies(points: Points, rows: int, scale: float) -> None:
    plain, scaled = Durations(profile(points)), Durations(profile(points), scale)
    assert isclose(product(scaled, rows), product(plain, rows) * scale, rel_tol=1e-9, abs_tol=1 + scale)
    before, after = (
        d.prefill_attention((4, 2, 8), ((0, 50), (9, 7)), lambda s, n: (9 * n, 10**7 * (s + n)))
        for d in (plain, scaled)
    )
    assert isclose(after.ns, before.ns * scale, rel_tol=1e-9, abs_tol=1 + scale)
    before, after = (d.copy_on_device(10**6) for d in (plain, scaled))
    assert isclose(after.ns, before.ns * scale, rel_tol=1e-9, abs_tol=1 + scale)
    assert scaled.copy("h2d", 4096) == plain.copy("h2d", 4096)


def test_each_direction_has_its_own_table_pinned_or_not() -> None:
    durations = Durations(H200)
    found = {(d, p): durations.copy(d, 1 << 20, pinned=p).ns for d in ("h2d", "d2h") for p in (True, False)}
    copies = H200.copies
    tables = {"h2d": (copies.pageable_h2d, copies.h2d), "d2h": (copies.pageable_d2h, copies.d2h)}
    assert found == {(d, p): dict(tables[d][p].points)[1 << 20] for d, p in found}


ATTENTION = (
    ((32, 8, 128, 1), ((100, 5_000), (300, 7_000))),
    ((32, 8, 128, 5), ((100, 6_000), (300, 16_000))),
    ((8, 8, 128, 5), ((100, 1),)),
)


def attention(
    rows: int, context: int, shape: tuple[int, int, int] = (32, 8, 128), durations: Durations | None = None
) -> int:
    tables = tuple(KernelTable.model_construct(shape=shape, points=points) for shape, points in ATTENTION)
    cost = ROOFLINE.model_copy(update={"table": tables, "flops": None})
    measured = H200.model_copy(update={"kernels": {**H200.kernels, "attention_decode": cost}})
    return (durations or Durations(measured)).decode_attention(shape, rows, context, QueryWork(1, 100, 100)).ns


def test_decode_attention_is_priced_by_batch_and_mean_context() -> None:
    assert [attention(rows, context) for rows, context in ((1, 100), (1, 300), (5, 500), (5, 1500))] == [
        5_000, 7_000, 6_000, 16_000,
    ]  # fmt: skip
    assert attention(1, 200) == 6_000
    assert attention(5, 1000) == 11_000
    assert attention(3, 600) == 8_500


def test_decode_attention_beyond_what_was_measured_goes_on_in_proportion_to_its_roofline() -> None:
    def roofline(rows: int, context: int) -> int:
        return 1_000 + rows + context

    assert attention(5, 15_000) == round(16_000 * roofline(5, 15_000) / roofline(5, 1_500))
    assert attention(50, 5_000) == round(6_000 * roofline(50, 5_000) / roofline(5, 500))
    assert attention(2, 2) == round(5_250 * roofline(2, 2) / roofline(2, 200))


def test_decode_attention_of_an_unmeasured_shape_takes_the_roofline() -> None:
    assert attention(3, 600, (16, 8, 128)) == 1_000 + 3 + 600


def test_decode_attention_keeps_its_work() -> None:
    kernel = Durations(H200).decode_attention((32, 8, 128), 16, 16 * 1024, QueryWork(3, 5, 7))
    assert (kernel.name, kernel.call, kernel.flops, kernel.bytes) == (
        "decode_attention", "attention", 3 * 16 * 1024, 5 * 16 * 1024 + 7 * 16,
    )  # fmt: skip


@given(
    st.sampled_from(((32, 8, 128), (14, 2, 64), (16, 8, 128), (7, 7, 16))),
    st.integers(1, 700),
    st.lists(st.integers(1, 5_000_000), min_size=1, max_size=20),
    st.sampled_from((1.0, 0.37, 3.0)),
)
def test_many_contexts_take_what_each_takes(
    heads: tuple[int, int, int], rows: int, contexts: list[int], scale: float
) -> None:
    durations = Durations(H200, scale)
    work = QueryWork(4 * heads[0] * heads[2], 4 * heads[1] * heads[2], 4 * heads[0] * heads[2])
    each = [durations.decode_attention(heads, rows, context, work).ns for context in contexts]
    assert durations.decode_curve(heads, rows, work).many(np.array(contexts)).tolist() == each


@given(st.lists(st.integers(1, 1 << 28), min_size=1, max_size=20), st.sampled_from((1.0, 0.37, 3.0)))
def test_many_copies_and_moves_take_what_each_takes(sizes: list[int], scale: float) -> None:
    durations, column = Durations(H200, scale), np.array(sizes)
    for pinned in (True, False):
        each = [durations.copy("h2d", nbytes, pinned=pinned).ns for nbytes in sizes]
        assert durations.copies_of("h2d", column, pinned=pinned).tolist() == each
    each = [durations.kernel("move", "move", "gather", nbytes=nbytes).ns for nbytes in sizes]
    assert durations.kernels_of("gather", column).tolist() == each


@given(tables(), st.lists(st.floats(0.5, 20_000), min_size=1, max_size=20))
def test_many_sizes_are_interpolated_as_each_is(points: Points, sizes: list[float]) -> None:
    assert interpolate_many(points, np.array(sizes)).tolist() == [interpolate(points, size) for size in sizes]


@given(st.integers(1, 1_000))
def test_below_the_table_a_product_still_reads_all_its_weights(rows: int) -> None:
    """One row of many is no thousandth of a thousand: the weights are read once for either."""
    durations = Durations(profile(((1_000, 500_000),)))
    n, k = SHAPE
    weights = 2 * n * k
    nbytes = weights + 2 * rows * (n + k)
    found = durations.kernel("mm", "gemm", "gemm", nbytes=nbytes, weights=weights, rows=rows, shape=SHAPE).ns
    whole = 1_000 + (weights + 2 * 1_000 * (n + k)) / 100
    assert found == pytest.approx(500_000 * (1_000 + nbytes / 100) / whole, abs=2 + 500_000 / whole)
    assert found >= 500_000 * (1_000 + weights / 100) / whole - 2 - 500_000 / whole
