"""Prefix reuse in whole runs, against what a look at the workload's hashes says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario
from sim.serving.request import HASH_TOKENS, Request
from sim.studies.serving import ServingRun

TRACE = "shared/workloads/mooncake_conversation_trace.jsonl"
MOONCAKE = next((p / TRACE for p in Path(__file__).parents if (p / TRACE).exists()), None)


def alone(*sets: str) -> ServingRun:
    """Timers that serve one request at a time, with a cache that is never full."""
    more = ("engine.modes=overlap-eager", "engine.prefix_cache=true", "engine.max_batch=1", *sets)
    return ServingRun.of(load_scenario("sleep-overlap", more))


def alike(requests: list[Request]) -> int:
    """Tokens that a request before had at the same place behind the same tokens."""
    seen: set[tuple[int, ...]] = set()
    found = 0
    for one in requests:
        whole = min(len(one.hashes), (one.context - 1) // HASH_TOKENS)
        heads = [one.hashes[: n + 1] for n in range(len(one.hashes))]
        known = next((n for n, head in enumerate(heads[:whole]) if head not in seen), whole)
        found += known * HASH_TOKENS
        seen |= {head for n, head in enumerate(heads) if (n + 1) * HASH_TOKENS <= one.context}
    return found


def check(run: ServingRun) -> float:
    """Cached tokens are those that are alike; returns their share of all prompt tokens."""
    requests = list(run.requests().take(1 << 62))
    cached = sum(d.cached for d in run.timeline("overlap-eager").deliveries)
    assert cached == alike(requests) > 0
    return cached / sum(one.context for one in requests)


def test_groups_share_their_prefix_but_for_the_first_of_each() -> None:
    prefix = ("workload.shared_prefix.groups=3", "workload.shared_prefix.tokens=1100")
    run = alone(
        "workload.rate=1000/s", "workload.requests=30", "workload.context=1200", "workload.output_tokens=2", *prefix
    )
    groups = {one.hashes for one in run.requests().take(1 << 62)}
    assert check(run) == pytest.approx((30 - len(groups)) * 1024 / (30 * 1200))
    assert not any(
        d.cached
        for d in replace(run, engine=run.engine.model_copy(update={"prefix_cache": False}))
        .timeline("overlap-eager")
        .deliveries
    )


@pytest.mark.skipif(MOONCAKE is None, reason="needs Mooncake's conversation trace")
def test_mooncakes_conversations_are_reused_as_their_hashes_say() -> None:
    share = check(alone(f"workload.trace={MOONCAKE}", "workload.requests=400", "workload.max_tokens=2"))
    assert 0.1 < share < 0.6


def test_a_closed_batch_has_no_prompts_to_share() -> None:
    with pytest.raises(ScenarioError, match=r"workload\.shared_prefix: .* no such key beside 'batch'"):
        alone("workload.shared_prefix.groups=3", "workload.shared_prefix.tokens=1100")


def test_a_prefix_below_one_hash_is_refused() -> None:
    with pytest.raises(
        ScenarioError, match=r"workload\.shared_prefix\.tokens: found 100, expected an integer of at least 512"
    ):
        alone("workload.rate=9/s", "workload.shared_prefix.groups=3", "workload.shared_prefix.tokens=100")
