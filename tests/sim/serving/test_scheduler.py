"""The scheduler: what each batch computes, and what its result ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import pytest

from sim.serving.batch import Batch, Chunk, Outputs, Phase, StepResult
from sim.serving.kv_cache import KVCache
from sim.serving.policies import Budget, Plan, Queues, mixed
from sim.serving.request import Reason, Request
from sim.serving.scheduler import Scheduler


def world(*requests: Request, num_blocks: int = 64, max_rows: int = 8, **knobs: Any) -> Scheduler:
    """A scheduler with these requests waiting, and a cache of blocks of 4 tokens."""
    scheduler = Scheduler(KVCache(num_blocks, block_tokens=4), max_rows=max_rows, **knobs)
    scheduler.add(requests)
    return scheduler


def scheduled(scheduler: Scheduler) -> Batch:
    batch = scheduler.schedule()
    assert batch is not None
    return batch


def result(*stopped: int) -> StepResult:
    return StepResult(time=0, stopped=stopped)


def processed(scheduler: Scheduler, *stopped: int) -> Outputs:
    """Digest the oldest batch in flight."""
    return scheduler.process(scheduler.in_flight[0], result(*stopped))


def ids(requests: Sequence[Request]) -> list[int]:
    return [request.id for request in requests]


def test_a_request_is_prefilled_and_decoded_to_its_last_token() -> None:
    request = Request(7, context=5, max_tokens=3)
    scheduler = world(request)
    batches, outputs = [], []
    while not scheduler.idle:
        batches.append(scheduled(scheduler))
        outputs.append(processed(scheduler))
    assert [(b.index, b.phase, b.rows, b.tokens, b.decode_context, b.counter) for b in batches] == [
        (0, Phase.PREFILL, 1, 5, 0, 0),
        (1, Phase.DECODE, 1, 1, 6, 1),
        (2, Phase.DECODE, 1, 1, 7, 2),
    ]
    assert [(b.prompts, b.joined, b.finishing) for b in batches] == [
        ((Chunk(request, 0, 5, 1),), (), ()),
        ((), (request,), ()),
        ((), (), (request,)),
    ]
    assert [(o.tokens, o.first, o.finished) for o in outputs] == [
        (1, (request,), ()),
        (1, (), ()),
        (1, (), ((request, 3, Reason.LENGTH),)),
    ]
    assert scheduler.kv.num_free == 64


def test_a_request_of_one_token_ends_with_its_prefill() -> None:
    request = Request(0, context=5, max_tokens=1)
    scheduler = world(request)
    assert scheduled(scheduler).finishing == (request,)
    assert scheduler.schedule() is None
    assert processed(scheduler).finished == ((request, 1, Reason.LENGTH),)


def test_a_computed_request_starts_at_its_first_decode_step() -> None:
    request = Request(0, context=5, max_tokens=2, computed=True)
    scheduler = world(request)
    first, last = scheduled(scheduler), scheduled(scheduler)
    assert [(b.phase, b.decode_context, b.joined) for b in (first, last)] == [
        (Phase.DECODE, 6, (request,)),
        (Phase.DECODE, 7, ()),
    ]
    assert processed(scheduler).first == (request,)
    assert processed(scheduler).finished == ((request, 2, Reason.LENGTH),)


def test_a_computed_request_behind_a_prompt_is_not_prefilled_with_it() -> None:
    prompt, computed = Request(0, context=5, max_tokens=3), Request(1, context=9, max_tokens=3, computed=True)
    scheduler = world(prompt, computed)
    batch = scheduled(scheduler)
    assert (batch.members, batch.tokens) == ((prompt,), 5)
    batch = scheduled(scheduler)
    assert (batch.members, batch.decode_context) == ((prompt, computed), 6 + 10)
    assert [processed(scheduler).first for _ in range(2)] == [(prompt,), (computed,)]


def test_a_request_that_joins_is_named_once_and_its_context_is_its_own() -> None:
    scheduler = world(Request(0, context=10, max_tokens=9, computed=True))
    assert scheduled(scheduler).decode_context == 11
    scheduler.add((Request(1, context=20, max_tokens=9),))
    assert ids(scheduled(scheduler).members) == [1]
    batches = [scheduled(scheduler) for _ in range(2)]
    assert [(ids(b.members), ids(b.joined), b.decode_context) for b in batches] == [
        ([0, 1], [1], 12 + 21),
        ([0, 1], [], 13 + 22),
    ]


def test_a_row_that_stops_at_its_prefill_never_joins() -> None:
    scheduler = world(Request(0, context=5, max_tokens=3), Request(1, context=6, max_tokens=3))
    scheduled(scheduler)
    assert [(r.id, n, why) for r, n, why in processed(scheduler, 0).finished] == [(0, 1, Reason.STOP)]
    batch = scheduled(scheduler)
    assert (ids(batch.members), ids(batch.joined), batch.decode_context) == ([1], [1], 7)


def test_a_stop_seen_one_step_late_costs_one_late_row() -> None:
    scheduler = world(Request(0, context=5, max_tokens=9, computed=True))
    scheduled(scheduler)
    late = scheduled(scheduler)
    assert [(n, why) for _, n, why in processed(scheduler, 0).finished] == [(1, Reason.STOP)]
    assert late.late == (0,)
    assert scheduler.schedule() is None
    outputs = processed(scheduler)
    assert (outputs.tokens, outputs.late, outputs.finished) == (0, 1, ())


def test_blocks_are_held_until_the_last_late_row_is_back() -> None:
    scheduler = world(Request(0, context=5, max_tokens=9, computed=True), num_blocks=4)
    for _ in range(3):
        scheduled(scheduler)
    free = []
    for stopped in ((0,), (), ()):
        processed(scheduler, *stopped)
        free.append(scheduler.kv.num_free)
    assert free == [0, 0, 4]


def test_a_late_row_that_stops_again_has_ended_already() -> None:
    scheduler = world(Request(0, context=5, max_tokens=3, computed=True))
    for _ in range(3):
        scheduled(scheduler)
    assert [(n, why) for _, n, why in processed(scheduler, 0).finished] == [(1, Reason.STOP)]
    assert processed(scheduler, 0).finished == ()
    assert processed(scheduler).finished == ()  # the last token by length, too


def test_a_stop_at_the_last_token_ends_a_request_once() -> None:
    scheduler = world(Request(0, context=5, max_tokens=1))
    scheduled(scheduler)
    assert [(n, why) for _, n, why in processed(scheduler, 0).finished] == [(1, Reason.STOP)]


@pytest.mark.parametrize(("foresee_length", "late"), [(True, [0, 0, 0]), (False, [0, 0, 1])])
def test_an_end_by_length_is_foreseen_or_costs_a_late_row(*, foresee_length: bool, late: list[int]) -> None:
    short, long = Request(0, 5, max_tokens=2, computed=True), Request(1, 5, max_tokens=9, computed=True)
    scheduler = world(short, long, foresee_length=foresee_length)
    scheduled(scheduler)
    outputs = []
    for _ in late:  # one step in flight, always
        scheduled(scheduler)
        outputs.append(processed(scheduler))
    assert [o.late for o in outputs] == late
    assert [o.finished for o in outputs] == [(), ((short, 2, Reason.LENGTH),), ()]


@pytest.mark.parametrize("foresee_length", [True, False])
def test_results_that_are_back_before_the_next_step_leave_no_row_late(*, foresee_length: bool) -> None:
    scheduler = world(*(Request(i, 5, max_tokens=i + 1) for i in range(4)), foresee_length=foresee_length)
    num_late = 0
    while not scheduler.idle:
        batch = scheduled(scheduler)
        num_late += processed(scheduler, *(r.id for r in batch.members if r.id == 2)).late
    assert num_late == 0


def test_a_prompt_in_chunks_beside_a_decode_row() -> None:
    old, new = Request(0, context=5, max_tokens=9, computed=True), Request(1, context=10, max_tokens=2)
    scheduler = world(old, policy=mixed, chunked=True, token_budget=5)
    scheduled(scheduler)
    scheduler.add((new,))
    batches = [scheduled(scheduler) for _ in range(4)]
    assert [(b.phase, b.rows, b.tokens, b.decode_rows, b.decode_context, b.partial, b.counter) for b in batches] == [
        (Phase.MIXED, 2, 5, 1, 7, 1, 2),
        (Phase.MIXED, 2, 5, 1, 8, 1, 3),
        (Phase.MIXED, 2, 3, 1, 9, 0, 4),
        (Phase.DECODE, 2, 2, 2, 10 + 11, 0, 5),
    ]
    assert [b.prompts for b in batches] == [(Chunk(new, 0, 4, 0),), (Chunk(new, 4, 4, 0),), (Chunk(new, 8, 2, 1),), ()]
    assert [ids(b.admitted) for b in batches] == [[1], [], [], []]
    assert [ids(b.joined) for b in batches] == [[], [], [], [1]]
    outputs = [processed(scheduler) for _ in range(5)]
    assert [(o.tokens, ids(o.first)) for o in outputs] == [(1, [0]), (1, []), (1, []), (2, [1]), (2, [])]
    assert outputs[-1].finished == ((new, 2, Reason.LENGTH),)


def test_a_prompt_that_ends_beside_decode_rows_may_be_all_there_is_to_its_request() -> None:
    scheduler = world(Request(0, 5, max_tokens=9, computed=True), policy=mixed)
    for _ in range(3):
        scheduled(scheduler)
    one, stopping = Request(1, 6, max_tokens=1), Request(2, 6, max_tokens=7)
    scheduler.add((one, stopping))
    assert (ids(scheduled(scheduler).finishing), ids(scheduled(scheduler).members)) == ([1], [0, 2])
    for _ in range(3):
        processed(scheduler)
    assert processed(scheduler, 2).finished == ((stopping, 1, Reason.STOP), (one, 1, Reason.LENGTH))
    assert processed(scheduler).late == 1


def test_a_full_cache_makes_the_next_request_wait() -> None:
    scheduler = world(Request(0, 5, max_tokens=2), Request(1, 5, max_tokens=2), num_blocks=3)
    assert ids(scheduled(scheduler).members) == [0]
    processed(scheduler)
    assert ids(scheduled(scheduler).members) == [0]
    assert scheduler.schedule() is None
    processed(scheduler)
    assert ids(scheduled(scheduler).members) == [1]


def test_blocks_grow_with_contexts_and_whoever_came_last_gives_way() -> None:
    old, new = Request(0, context=6, max_tokens=9), Request(1, context=6, max_tokens=9)
    scheduler = world(old, new, num_blocks=5, grow=True)
    scheduled(scheduler)  # two blocks each: 6 tokens and the next two
    assert scheduler.kv.num_free == 1
    scheduled(scheduler)
    scheduled(scheduler)  # the eighth tokens
    assert scheduler.schedule() is None  # both need a third block, one is free, and results in flight may free some
    for _ in range(3):
        processed(scheduler)
    batch = scheduled(scheduler)
    assert (ids(batch.preempted), ids(batch.members), batch.kv_blocks) == ([1], [0], 3)
    assert (ids(list(scheduler.waiting)), scheduler.left(new)) == ([1], 6 + 3)
    while not batch.prompts:
        processed(scheduler)
        batch = scheduled(scheduler)
    assert batch.prompts == (Chunk(new, 0, 9, 4),)
    while not scheduler.idle:
        outputs = processed(scheduler)
        if not scheduler.in_flight:
            scheduler.schedule()
    assert outputs.finished == ((new, 9, Reason.LENGTH),)
    assert scheduler.kv.num_free == 5


def test_a_watermark_of_blocks_stays_free_when_somebody_is_admitted() -> None:
    requests = [Request(i, context=6, max_tokens=9) for i in range(4)]
    for watermark, admitted in ((0.0, [0, 1, 2, 3]), (0.2, [0, 1, 2])):
        scheduler = world(Request(9, context=3, max_tokens=9), num_blocks=9 + 1, grow=True, watermark=watermark)
        scheduled(scheduler)
        scheduler.add(tuple(requests))
        assert ids(scheduled(scheduler).admitted) == admitted


def test_a_computed_request_that_lost_its_blocks_computes_all_it_had() -> None:
    old, new = (Request(i, context=7, max_tokens=5, computed=True) for i in range(2))
    scheduler = world(old, new, num_blocks=4, grow=True)
    scheduled(scheduler)
    processed(scheduler)
    batch = scheduled(scheduler)
    assert (ids(batch.preempted), ids(batch.members)) == ([1], [0])
    assert scheduler.left(new) == 7 + 1 + 1  # its context, the token it began with, and the one it received


def test_a_computed_request_waits_for_the_cache_and_for_a_row() -> None:
    requests = [Request(i, 5, max_tokens=2, computed=True) for i in range(2)]
    for scheduler in (world(*requests, num_blocks=3), world(*requests, max_rows=1)):
        assert [ids(scheduled(scheduler).members) for _ in range(2)] == [[0], [0]]
        processed(scheduler)
        processed(scheduler)
        assert ids(scheduled(scheduler).members) == [1]


def test_rows_are_bounded_in_prefill_and_decode_together() -> None:
    scheduler = world(*(Request(i, 5, max_tokens=3) for i in range(4)), max_rows=3)
    assert ids(scheduled(scheduler).members) == [0, 1, 2]
    assert [ids(scheduled(scheduler).members) for _ in range(2)] == [[0, 1, 2], [0, 1, 2]]
    assert scheduler.num_running == 0  # their ends by length are foreseen: the rows are free again
    assert ids(scheduled(scheduler).members) == [3]


def test_a_request_that_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^request 0 needs 17 tokens of KV cache, which holds 16$"):
        world(Request(0, context=8, max_tokens=8), num_blocks=4)


@pytest.mark.parametrize(("max_rows", "token_budget"), [(0, 1), (1, 0)])
def test_a_scheduler_without_room_for_a_row_is_refused(max_rows: int, token_budget: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {max_rows} and {token_budget}$"):
        Scheduler(KVCache(4), max_rows=max_rows, token_budget=token_budget)


def test_results_come_back_in_launch_order_and_once() -> None:
    scheduler = world(Request(0, 5, max_tokens=9))
    first, second = scheduled(scheduler), scheduled(scheduler)
    with pytest.raises(ValueError, match=r"^batch 1 is not the oldest in flight$"):
        scheduler.process(second, result())
    scheduler.process(first, result())
    with pytest.raises(ValueError, match=r"^batch 0 is not the oldest in flight$"):
        scheduler.process(first, result())


Choice = Callable[[Queues], Plan]


def whole(*requests: Request) -> Plan:
    """Each of these prompts at once, and nobody decodes."""
    return Plan(tuple((request, request.context) for request in requests), decode=False)


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (
            lambda queues: whole(*islice(queues.waiting, 4)),
            r"^the policy chose 4 prompts of 16 tokens, 4 of them new, beside",
        ),
        (
            lambda queues: whole(*islice(queues.waiting, 3)),
            r"^the policy chose 3 prompts of 12 tokens, 3 of them new, beside",
        ),
        (lambda queues: whole(*[queues.waiting[0]] * 2), r"^the policy chose requests \[0, 0\]: not all of them wait"),
        (lambda _: whole(Request(99, 4, 4)), r"^the policy chose requests \[99\]: not all of them wait"),
        (lambda queues: whole(queues.waiting[4]), r"^the policy chose 4 tokens of request 4, which has 0 left$"),
        (lambda queues: whole(queues.waiting[1], queues.waiting[3]), r"requests that need 6 blocks, the budget is"),
        (lambda queues: Plan(((queues.waiting[0], 3),)), r"^the policy chose 3 tokens of request 0, which has 4 left$"),
        (lambda _: Plan(decode=True), r"^the policy chose nothing and nothing is in flight, the budget is "),
    ],
    ids=["rows", "tokens", "twice", "unknown", "computed", "cache", "cut", "nothing"],
)
def test_a_policy_that_breaks_the_rules_is_refused(choose: Choice, message: str) -> None:
    def policy(queues: Queues, budget: Budget) -> Plan:
        assert (queues.num_running, budget) == (0, Budget(tokens=10, rows=3, blocks=5, block_tokens=4))
        waiting = list(queues.waiting)
        assert [(queues.left(r), queues.blocks(r)) for r in waiting] == [(4, 3)] * 4 + [(0, 3)]
        return choose(queues)

    scheduler = Scheduler(KVCache(5, block_tokens=4), policy=policy, max_rows=3, token_budget=10)
    scheduler.add((*(Request(i, 4, max_tokens=4) for i in range(4)), Request(4, 4, max_tokens=4, computed=True)))
    with pytest.raises(ValueError, match=message):
        scheduler.schedule()


def test_two_prompts_above_the_token_budget_are_refused_and_one_is_not() -> None:
    for chosen, refused in ((1, False), (2, True)):
        scheduler = world(
            *(Request(i, 4, 4) for i in range(2)),
            token_budget=3 if chosen == 1 else 7,
            policy=lambda queues, _, chosen=chosen: whole(*islice(queues.waiting, chosen)),
        )
        if refused:
            with pytest.raises(ValueError, match=r"^the policy chose 2 prompts of 8 tokens"):
                scheduler.schedule()
        else:
            assert scheduled(scheduler).tokens == 4


def test_a_policy_may_choose_out_of_order_and_the_others_keep_theirs() -> None:
    scheduler = Scheduler(KVCache(64), policy=lambda queues, _: whole(queues.waiting[-1]))
    scheduler.add(tuple(Request(i, 4, max_tokens=2) for i in range(3)))
    assert ids(scheduled(scheduler).members) == [2]
    assert ids(list(scheduler.waiting)) == [0, 1]
