"""Policies: who is prefilled next, and within which budget."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.serving.policies import POLICIES, Budget, decode_first, prefill_first
from sim.serving.request import Request


def waiting(*contexts: int) -> list[Request]:
    """Requests 0, 1, ... with these prompts, 4 tokens of output each."""
    return [Request(i, context, max_tokens=4) for i, context in enumerate(contexts)]


def ids(requests: list[Request]) -> list[int]:
    return [request.id for request in requests]


def test_a_request_reserves_prompt_output_and_one_late_row_in_whole_pages() -> None:
    budget = Budget(tokens=100, rows=4, kv_tokens=64, page=16)
    needs = [budget.kv_need(Request(0, context, max_tokens=4)) for context in (1, 11, 12, 27, 28)]
    assert needs == [16, 16, 32, 32, 48]


def test_prefill_first_takes_prompts_in_order_until_the_first_that_does_not_fit() -> None:
    queue = waiting(10, 20, 30, 5)
    assert ids(prefill_first(queue, 0, Budget(tokens=59, rows=9, kv_tokens=999, page=1))) == [0, 1]
    assert ids(prefill_first(queue, 0, Budget(tokens=60, rows=9, kv_tokens=999, page=1))) == [0, 1, 2]
    assert ids(prefill_first(queue, 0, Budget(tokens=99, rows=3, kv_tokens=999, page=1))) == [0, 1, 2]
    assert ids(prefill_first(queue, 0, Budget(tokens=99, rows=9, kv_tokens=40, page=1))) == [0, 1]
    assert ids(prefill_first(queue, 0, Budget(tokens=99, rows=9, kv_tokens=39, page=1))) == [0]


def test_a_prompt_above_the_token_budget_is_prefilled_alone() -> None:
    queue = waiting(50, 1)
    assert ids(prefill_first(queue, 0, Budget(tokens=8, rows=9, kv_tokens=999, page=1))) == [0]


@pytest.mark.parametrize("budget", [Budget(99, 0, 999, 1), Budget(99, 9, 14, 1)])
def test_prefill_first_decodes_while_the_head_finds_no_row_or_no_cache(budget: Budget) -> None:
    assert prefill_first(waiting(10, 1), 1, budget) == []


def test_a_computed_request_is_not_prefilled_and_not_overtaken() -> None:
    queue = [Request(0, 10, 4), Request(1, 10, 4, computed=True), Request(2, 10, 4)]
    budget = Budget(tokens=99, rows=9, kv_tokens=999, page=1)
    assert ids(prefill_first(queue, 0, budget)) == [0]
    assert prefill_first(queue[1:], 0, budget) == []


def test_decode_first_prefills_only_when_nothing_runs() -> None:
    budget = Budget(tokens=99, rows=9, kv_tokens=999, page=1)
    assert decode_first(waiting(10, 20), 1, budget) == []
    assert ids(decode_first(waiting(10, 20), 0, budget)) == [0, 1]


def test_policies_are_found_by_name() -> None:
    assert POLICIES["prefill-first"] is prefill_first
    assert POLICIES["decode-first"] is decode_first


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 40), max_size=8).map(lambda contexts: waiting(*contexts)),
    st.builds(Budget, st.integers(1, 60), st.integers(0, 5), st.integers(0, 120), st.integers(1, 16)),
)
def test_prefill_first_takes_the_longest_prefix_within_the_budget(queue: list[Request], budget: Budget) -> None:
    def fits(chosen: list[Request]) -> bool:
        tokens = sum(request.context for request in chosen)
        return (
            len(chosen) <= budget.rows
            and (tokens <= budget.tokens or len(chosen) == 1)
            and sum(budget.kv_need(request) for request in chosen) <= budget.kv_tokens
        )

    chosen = prefill_first(queue, 0, budget)
    assert chosen == queue[: len(chosen)]
    assert fits(chosen)
    assert chosen == queue or not fits(queue[: len(chosen) + 1])


@pytest.mark.parametrize(("context", "max_tokens", "arrival"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_a_request_of_nothing_is_refused(context: int, max_tokens: int, arrival: int) -> None:
    with pytest.raises(ValueError, match=rf"^request 7: .* got {context}, {max_tokens}, {arrival}$"):
        Request(7, context, max_tokens, arrival)
