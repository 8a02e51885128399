"""Policies with one mistake each, as one makes them."""

from __future__ import annotations

from sim.serving.policies import Budget, Plan, Queues, prefill_first
from sim.serving.request import Request


def newest_first(queues: Queues, budget: Budget) -> Plan:
    """Whoever has just come goes first: under a flood the oldest waits for ever."""
    for request in (*queues.partial, *reversed(queues.waiting)):
        holds = request in queues.partial
        if holds or (budget.rows > 0 and queues.blocks(request) <= budget.blocks):
            left = queues.left(request)
            return Plan(((request, min(left, budget.tokens) if budget.chunked else left),), decode=False)
    return Plan()


def over_budget(queues: Queues, budget: Budget) -> Plan:
    """Counts the tokens of its prompts, but not those of the request that it adds last."""
    chosen: list[tuple[Request, int]] = []
    tokens, rows, blocks = 0, budget.rows, budget.blocks
    for request in queues.waiting:
        if tokens > budget.tokens or rows < 1 or queues.blocks(request) > blocks:
            break
        chosen.append((request, queues.left(request)))
        tokens, rows, blocks = tokens + queues.left(request), rows - 1, blocks - queues.blocks(request)
    return Plan(tuple(chosen), decode=not chosen) if not queues.partial else prefill_first(queues, budget)


def cache_counted_twice(queues: Queues, budget: Budget) -> Plan:
    """Takes what the cache has of a prompt off what is left of it, which is done already."""
    plan = prefill_first(queues, budget)
    if queues.partial:
        return plan
    return Plan(tuple((r, max(1, count - queues.cached(r))) for r, count in plan.prompts), plan.decode)


class Picky:
    """Waits for a full batch of two: the last request waits for ever."""

    def __call__(self, queues: Queues, budget: Budget) -> Plan:
        if len(queues.waiting) < 2 and not queues.partial:
            return Plan()
        return prefill_first(queues, budget)


class Once:
    """Remembers whom it has chosen, so as to choose nobody twice: who is preempted never comes back."""

    def __init__(self) -> None:
        self.chosen: set[int] = set()

    def __call__(self, queues: Queues, budget: Budget) -> Plan:
        if queues.partial:
            return prefill_first(queues, budget)
        for request in queues.waiting:
            left = queues.left(request)
            if request.id not in self.chosen and budget.rows > 0 and queues.blocks(request) <= budget.blocks:
                self.chosen.add(request.id)
                return Plan(((request, min(left, budget.tokens) if budget.chunked else left),), decode=False)
        return Plan()
