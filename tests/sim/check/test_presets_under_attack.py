"""Every shipped engine's loops against every invariant, in worlds with stops, ends by length and late arrivals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scenarios.engine import HostCost
from scenarios.loader import list_engines, load_engine
from sim.check.attacks import attack_again, attack_server, attack_world
from sim.check.world import Asked, World
from sim.fast.refusal import OutsideError

ENGINES = [name for name in list_engines() if "overlap" not in load_engine(name).missing]
REQUESTS = (
    Asked(0, 20, 9), Asked(0, 33, 4), Asked(40, 7, 1), Asked(900, 50, 12), Asked(901, 1, 2), Asked(9_000, 12, 5),
)  # fmt: skip


def world(engine: str, mode: str, limit: int | None) -> World:
    return World(REQUESTS, mode, limit, {"preset": engine}, host=30, layers=True)


@pytest.mark.parametrize("limit", [None, 14])
@pytest.mark.parametrize("mode", ["overlap-eager", "overlap-graph"])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_invariant_breaks(engine: str, mode: str, limit: int | None) -> None:
    assert attack_world(world(engine, mode, limit)) is None


@pytest.mark.parametrize("engine", ENGINES)
def test_nor_where_requests_wait_for_blocks_or_lose_them(engine: str) -> None:
    few = {"preset": engine, "kv_blocks": 6, "max_batch": 4}
    crowd = tuple(Asked(10 * i, 20 + 7 * i, 14 + i) for i in range(6))
    assert attack_world(World(crowd, "overlap-graph", None, few, host=30, layers=True)) is None


@pytest.mark.parametrize("mode", ["overlap-eager", "overlap-graph"])
@pytest.mark.parametrize("engine", ENGINES)
def test_runs_repeat_themselves_and_the_fast_machine_gives_the_same_or_refuses(engine: str, mode: str) -> None:
    one = world(engine, mode, 14)
    attack_again(one)
    if load_engine(engine).overlap.host_threads == 1:
        assert attack_world(one, machine="fast") is None
    else:
        with pytest.raises(OutsideError, match="several host threads"):
            attack_world(one, machine="fast")


@pytest.mark.parametrize("engine", [name for name in ENGINES if "masks" not in load_engine(name).missing])
def test_masks_break_no_invariant_either(engine: str) -> None:
    one = world(engine, "overlap-graph", 14)
    run = one.serving()
    masks = HostCost.model_construct(base=50_000, per_row=10_000, per_token=0, source="")
    masked = run.engine.model_copy(update={"host": run.engine.host.model_copy(update={"mask": masks})})
    assert attack_server(replace(run, engine=masked), "overlap-graph", one.source()) is None
