"""Flawed policies are found, and shrunk to what one can see at a glance; those that are shipped are not blamed."""

from __future__ import annotations

from collections.abc import Callable

import flawed
import pytest

from sim.check import scheduler_invariants
from sim.check.search import search
from sim.serving.policies import POLICIES, Policy


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
