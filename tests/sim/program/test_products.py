"""Products of programs in tiles and waves against closed forms; what they find in the cache, who runs beside whom."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.loader import load_profile, load_scenario
from scenarios.profile import ProgramKernels
from sim.program.cache import unrolled
from sim.program.durations import Durations
from sim.program.priced import Priced
from sim.program.products import Grid, Products, grids
from sim.studies.program import program_metrics, run_program

COSTS = ProgramKernels.model_validate({
    "floor": "2us", "per_1000_first_steps": "0us", "per_1000_steps": "1us", "flops": "8TFLOP/s",
    "tiles": [[64, 64], [128, 256]], "add_floor": "1us", "cache": "10TB/s", "memory": "2TB/s", "miss": "500ns",
    "found_up_to": "30MB", "lost_from": "50MB", "source": "made up",
})  # fmt: skip
TEN = Products(COSTS, 10)
H200 = load_profile("nvidia-h200")
PROFILE = H200.model_copy(update={"programs": COSTS})

sizes = st.integers(1, 3000)


def test_a_wave_is_as_many_tiles_as_there_are_multiprocessors() -> None:
    """640 x 64 are ten tiles of 64 x 64, a row more are eleven; larger tiles lie across or along."""
    assert grids(640, 64, [(64, 64)], 10) == [Grid((64, 64), 10, 1)]
    assert grids(641, 64, [(64, 64)], 10) == [Grid((64, 64), 11, 2)]
    assert grids(256, 128, [(128, 256)], 10) == [Grid((128, 256), 2, 1), Grid((256, 128), 1, 1)]


def test_a_product_takes_its_waves_of_steps() -> None:
    """1000 steps of a latency of 1 ns and 2 * 64 * 64 operations at 8 TFLOP/s: 2.024 us a wave, on 2 us."""
    once, share = TEN.matmul(640, 64, 1000, 1.0)
    assert once == pytest.approx(2000 + 1000 + 1024)
    assert share == 1.0
    twice, _ = TEN.matmul(641, 64, 1000, 1.0)
    assert twice == pytest.approx(2000 + 2 * (1000 + 1024))


def test_the_fastest_tile_is_taken() -> None:
    """Two waves of small tiles, or one of large ones, whose steps take 1 + 8.192 ns."""
    ns, share = TEN.matmul(2560, 128, 1000, 1.0)  # 80 small tiles in 8 waves, 10 large ones in one
    assert ns == pytest.approx(2000 + 1000 + 8192)
    assert share == 1.0


def test_the_first_steps_wait_for_each_other() -> None:
    slow = Products(COSTS.model_copy(update={"per_1000_first_steps": 2000}), 10)
    for k, first in ((100, 200), (256, 512), (4000, 512)):
        assert slow.matmul(64, 64, k, 1.0)[0] == pytest.approx(TEN.matmul(64, 64, k, 1.0)[0] + first)


def test_what_is_moved_counts_where_it_takes_longer() -> None:
    """128 KB of weights for a single step: 12.8 ns out of the cache, a miss and 64 ns out of memory, half of each."""
    kept, fetched, half = (Products(COSTS, 10_000).matmul(1, 64_000, 1, found)[0] for found in (1.0, 0.0, 0.5))
    nbytes = 2 * (1 + 64_000 + 64_000)
    assert kept == pytest.approx(2000 + nbytes / 10_000)
    assert fetched == pytest.approx(2500 + nbytes / 2_000)
    assert half == pytest.approx((kept + fetched) / 2)


def test_an_addition_is_bytes_on_a_floor() -> None:
    assert TEN.add(10**6, 1.0) == pytest.approx(1000 + 12e6 / 10_000)
    assert TEN.add(10**6, 0.0) == pytest.approx(1500 + 12e6 / 2_000)


@given(sizes, sizes, sizes, st.floats(0, 1))
def test_more_is_never_faster_than_all_found_nor_slower_than_none(m: int, n: int, k: int, found: float) -> None:
    ns, share = TEN.matmul(m, n, k, found)
    assert TEN.matmul(m, n, k, 1.0)[0] - 1e-6 <= ns <= TEN.matmul(m, n, k, 0.0)[0] + 1e-6
    assert 0 < share <= 1
    tiles = ceil(m / 256) * ceil(n / 256)
    assert ns >= 2000 + ceil(tiles / 10) * k


def test_a_program_finds_weights_that_it_has_just_used_and_loses_larger_ones() -> None:
    """Of a width of 2048 (8 MB) they stay, of 8192 (134 MB) only the narrow operand and the result do."""
    durations = Durations(PROFILE)
    for n, found in ((2048, 1.0), (8192, 0.0)):
        program = load_scenario("cuda-graph-simple", [f"n={n}"]).scenario
        priced = Priced.of(program, durations)
        product = next(unrolled(program.threads[0].ops))
        expected, _ = Products(COSTS, 132).matmul(32, n, n, found)
        assert priced.operation(product).ns == pytest.approx(expected, rel=0.005)  # type: ignore[union-attr]


def test_without_the_table_products_are_those_of_layers() -> None:
    assert H200.programs is None
    program = load_scenario("hundred-matmuls", ["n=1024"]).scenario
    product = next(unrolled(program.threads[0].ops))
    own, layers = (Priced.of(program, Durations(profile)).operation(product) for profile in (PROFILE, H200))
    assert layers == Durations(H200).matmul(layers.name, 1024, 1024, 1024, 0.0)
    assert own.ns != layers.ns


def with_costs(name: str, *sets: str) -> dict[str, int]:
    """Totals of a program by mode, with the made-up table."""
    loaded = load_scenario(name, sets)
    loaded = replace(loaded, profile=PROFILE)
    return {mode: program_metrics(run_program(loaded, mode, machine="reference")).total_ns for mode in loaded.modes}


def test_products_of_few_blocks_run_side_by_side_in_a_graph() -> None:
    """A hundred products in two branches: of 64 blocks two fit at once and take what fifty take; of 128 they do not."""
    beside, alone = with_costs("two-streams", "n=512"), with_costs("hundred-matmuls", "n=512", "count=50")
    assert beside["graph"] < 1.15 * alone["graph"]
    in_turn, alone = with_costs("two-streams", "n=2048"), with_costs("hundred-matmuls", "n=2048", "count=50")
    assert in_turn["graph"] > 1.8 * alone["graph"]


def test_a_cache_that_forgets_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="more than found_up_to"):
        ProgramKernels.model_validate({**COSTS.model_dump(mode="json"), "lost_from": "30MB"})
