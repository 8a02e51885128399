"""Policies: whose prompt is computed next, how much of it, and within which budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.serving.policies import POLICIES, Budget, Plan, decode_first, mixed, prefill_first
from sim.serving.request import Request

OUTPUT = 4


@dataclass
class World:
    """Queues of requests that share nothing, ``done`` tokens of each partial prompt computed; blocks of one token."""

    waiting: Sequence[Request] = ()
    partial: Sequence[Request] = ()
    num_running: int = 0
    done: int = 5

    def left(self, request: Request) -> int:
        return 0 if request.computed else request.context - (self.done if request in self.partial else 0)

    def cached(self, request: Request) -> int:
        del request
        return 0

    def blocks(self, request: Request) -> int:
        return request.context + OUTPUT + 1


def prompts(*contexts: int, start: int = 0) -> list[Request]:
    return [Request(start + i, context, max_tokens=OUTPUT) for i, context in enumerate(contexts)]


def budget(tokens: int = 99, rows: int = 9, blocks: int = 999, *, chunked: bool = False) -> Budget:
    return Budget(tokens, rows, blocks, 1, chunked)


def chosen(plan: Plan) -> list[tuple[int, int]]:
    return [(request.id, tokens) for request, tokens in plan.prompts]


def test_prefill_first_takes_prompts_in_order_until_the_first_that_does_not_fit() -> None:
    world = World(prompts(10, 20, 30, 5))
    assert chosen(prefill_first(world, budget(tokens=59))) == [(0, 10), (1, 20)]
    assert chosen(prefill_first(world, budget(tokens=60))) == [(0, 10), (1, 20), (2, 30)]
    assert chosen(prefill_first(world, budget(rows=3))) == [(0, 10), (1, 20), (2, 30)]
    assert chosen(prefill_first(world, budget(blocks=40))) == [(0, 10), (1, 20)]
    assert chosen(prefill_first(world, budget(blocks=39))) == [(0, 10)]


def test_a_prompt_above_the_token_budget_goes_alone_or_is_cut() -> None:
    world = World(prompts(50, 1))
    assert chosen(prefill_first(world, budget(tokens=8))) == [(0, 50)]
    assert chosen(prefill_first(world, budget(tokens=8, chunked=True))) == [(0, 8)]


def test_what_is_left_of_a_prompt_that_was_cut_goes_first() -> None:
    world = World(prompts(10, 20, start=1), partial=prompts(12))
    assert chosen(prefill_first(world, budget(tokens=6, chunked=True))) == [(0, 6)]
    assert chosen(prefill_first(world, budget(tokens=20, chunked=True))) == [(0, 7), (1, 10), (2, 3)]
    assert chosen(prefill_first(world, budget(tokens=20, rows=0, chunked=True))) == [(0, 7)]


@pytest.mark.parametrize("short", [budget(rows=0), budget(blocks=14)])
def test_prefill_first_decodes_while_the_head_finds_no_row_or_no_blocks(short: Budget) -> None:
    assert prefill_first(World(prompts(10, 1), num_running=1), short) == Plan()


def test_prompts_and_decode_rows_do_not_share_a_step() -> None:
    assert not prefill_first(World(prompts(10), num_running=1), budget()).decode


def test_a_computed_request_is_not_prefilled_and_not_overtaken() -> None:
    queue = [Request(0, 10, OUTPUT), Request(1, 10, OUTPUT, computed=True), Request(2, 10, OUTPUT)]
    assert chosen(prefill_first(World(queue), budget())) == [(0, 10)]
    assert prefill_first(World(queue[1:]), budget()) == Plan()


def test_decode_first_prefills_only_when_nothing_runs() -> None:
    assert decode_first(World(prompts(10, 20), num_running=1), budget()) == Plan()
    assert chosen(decode_first(World(prompts(10, 20)), budget())) == [(0, 10), (1, 20)]


def test_mixed_decodes_in_every_step_and_gives_prompts_the_tokens_that_are_left() -> None:
    world = World(prompts(10, 20, start=1), partial=prompts(12), num_running=3)
    plan = mixed(world, budget(tokens=20, chunked=True))
    assert (chosen(plan), plan.decode) == ([(0, 7), (1, 10)], True)
    assert chosen(mixed(world, budget(tokens=3, chunked=True))) == []
    assert chosen(mixed(World(prompts(10, 20), num_running=3), budget(tokens=13))) == [(0, 10)]
    assert chosen(mixed(World(prompts(50, 1), num_running=3), budget(tokens=13))) == [(0, 50)]


def test_policies_are_found_by_name() -> None:
    assert POLICIES["prefill-first"] is prefill_first
    assert POLICIES["decode-first"] is decode_first
    assert POLICIES["mixed"] is mixed


@given(
    st.lists(st.integers(1, 40), max_size=8).map(lambda contexts: World(prompts(*contexts))),
    st.builds(Budget, st.integers(1, 60), st.integers(0, 5), st.integers(0, 120), st.just(1), st.just(False)),
)
def test_prefill_first_takes_the_longest_prefix_within_the_budget(world: World, most: Budget) -> None:
    def fits(requests: Sequence[Request]) -> bool:
        tokens = sum(request.context for request in requests)
        return (
            len(requests) <= most.rows
            and (tokens <= most.tokens or len(requests) == 1)
            and sum(map(world.blocks, requests)) <= most.blocks
        )

    plan = prefill_first(world, most)
    count = len(plan.prompts)
    assert plan.prompts == tuple((request, request.context) for request in world.waiting[:count])
    assert fits(world.waiting[:count])
    assert count == len(world.waiting) or not fits(world.waiting[: count + 1])


@pytest.mark.parametrize(("context", "max_tokens", "arrival"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_a_request_of_nothing_is_refused(context: int, max_tokens: int, arrival: int) -> None:
    with pytest.raises(ValueError, match=rf"^request 7: .* got {context}, {max_tokens}, {arrival}$"):
        Request(7, context, max_tokens, arrival)
