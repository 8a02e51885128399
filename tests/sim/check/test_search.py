"""Flawed policies are found, and shrunk to what one can see at a glance; those that are shipped are not blamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flawed
import pytest

from scenarios.loader import load_scenario
from sim.check import scheduler_invariants
from sim.check.search import search
from sim.check.strategies.worlds import worlds
from sim.serving.policies import POLICIES, Policy
from sim.studies.serving import ServingRun


@pytest.mark.parametrize(
    ("policy", "invariant", "most", "sentence"),
    [
        (lambda: flawed.newest_first, "no-starvation", 5, "request 0 still waits, though it fits and [1, 2, 3, 4]"),
        (lambda: flawed.over_budget, "plan-in-budget", 2, " tokens, the budget is 1"),
        (flawed.Once, "progress", 5, "the policy chose nothing, though requests ["),
        (flawed.Picky, "progress", 1, "the policy chose nothing, though requests [0] wait and nothing is in flight"),
    ],
)
def test_a_flawed_policy_is_found_and_shrunk(
    policy: Callable[[], Policy], invariant: str, most: int, sentence: str
) -> None:
    found = search(policy).found
    assert found is not None
    assert len(found.world.requests) <= most
    (violation,) = found.broken.violations
    assert violation.invariant == invariant
    assert sentence in violation.sentence


def test_what_breaks_on_a_prefix_cache_alone_is_found_shrunk_and_written_with_its_prompts(tmp_path: Path) -> None:
    found = search(lambda: flawed.cache_counted_twice, worlds=worlds(kinds=("alike",))).found
    assert found is not None
    (violation,) = found.broken.violations
    assert violation.invariant == "plan-in-budget"
    assert "the policy chose 1 tokens of request" in violation.sentence
    first, second = [r.hashes for r in found.world.requests if r.hashes]
    assert first == second[: len(first)]
    trace = found.world.write(tmp_path / "broken.toml", "a world")
    assert trace.name == "broken.jsonl"
    loaded = ServingRun.of(load_scenario(tmp_path / "broken.toml"))
    assert loaded.requests().everything() == found.world.source().everything()
    assert f"pieces of 512 tokens named {list(second)}" in str(found.world)


def test_nothing_is_blamed_where_prompts_begin_alike() -> None:
    assert search(examples=40, worlds=worlds(kinds=("alike",))).found is None


def test_equal_searches_find_equal_worlds() -> None:
    first, second = (search(flawed.Picky, seed=3) for _ in range(2))
    assert first.tried == second.tried
    assert first.found is not None
    assert second.found is not None
    assert (first.found.world, first.found.broken.violations) == (second.found.world, second.found.broken.violations)


def test_only_the_properties_that_are_named_count() -> None:
    assert search(flawed.Picky, examples=20, properties=frozenset({"no-starvation"})).found is None


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_shipped_policies_are_not_blamed(name: str) -> None:
    assert search(lambda: POLICIES[name], examples=60).found is None


def test_the_fast_machine_finds_the_same() -> None:
    found = search(flawed.Picky, machine="fast").found
    assert found is not None
    assert [v.invariant for v in found.broken.violations] == ["progress"]


test_a_policy_in_one_line = scheduler_invariants(POLICIES["decode-first"], examples=20)


def test_the_line_tells_the_smallest_world() -> None:
    with pytest.raises(
        AssertionError, match=r"progress: the policy chose nothing.*\nrequest 0: at 0 us, 1 prompt and 1"
    ):
        scheduler_invariants(flawed.Picky)()
