"""A policy's plans, held against their budget and against those who wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sim.check.ledger import Complaint
from sim.serving.policies import Budget, Plan, Queues
from sim.serving.request import Request


def in_budget(plan: Plan, queues: Queues, budget: Budget, *, flying: bool) -> Iterable[Complaint]:
    """What a plan takes beyond its budget, or though nobody waits for it; ``flying`` while a step is in flight."""
    partial = {r.id for r in queues.partial}
    waiting = {r.id for r in queues.waiting}
    chosen = [r.id for r, _ in plan.prompts]
    for number in sorted(set(chosen)):
        if chosen.count(number) > 1:
            yield "plan-in-budget", f"the policy chose request {number} {chosen.count(number)} times"
    for request, tokens in plan.prompts:
        if request.id not in partial | waiting:
            yield "plan-in-budget", f"the policy chose request {request.id}, which has no prompt to compute"
            continue
        left = queues.left(request)
        if not (1 if budget.chunked else left) <= tokens <= left or not left:
            told = f"the policy chose {tokens} tokens of request {request.id}, which has {left} left"
            yield "plan-in-budget", told + ("" if budget.chunked else " and is not cut")
    fresh = [r for r, _ in plan.prompts if r.id in waiting]
    tokens = sum(count for _, count in plan.prompts)
    rows = queues.num_running if plan.decode else 0
    if plan.prompts and tokens + rows > budget.tokens and (budget.chunked or len(plan.prompts) > 1):
        with_rows = f" beside {rows} decode rows" if rows else ""
        yield "plan-in-budget", f"the policy chose {tokens} tokens{with_rows}, the budget is {budget.tokens}"
    if len(fresh) > budget.rows:
        yield "plan-in-budget", f"the policy chose {len(fresh)} new requests, the budget is {budget.rows} rows"
    need = sum(queues.blocks(r) for r in fresh)
    if need > budget.blocks:
        yield "plan-in-budget", f"the policy chose requests that need {need} blocks, the budget is {budget.blocks}"
    if not plan.prompts and not (plan.decode and queues.num_running) and not flying:
        yield (
            "progress",
            f"the policy chose nothing, though requests {sorted(partial | waiting)} wait and nothing is in flight",
        )


class Overtaking:
    """Who stands further back in the queue, as the policy was shown it, overtakes by going first."""

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self._by: dict[int, set[int]] = {}

    def found(self, plan: Plan, queues: Queues, budget: Budget, waiting: Sequence[Request]) -> Iterable[Complaint]:
        """Those that fit and have been overtaken by more than ``patience`` others."""
        if self._patience is None or not plan.prompts:
            return
        chosen = {r.id for r, _ in plan.prompts}
        for place, request in enumerate(waiting):
            if request.id in chosen or request.computed:
                continue
            overtaken = self._by.setdefault(request.id, set())
            if queues.blocks(request) <= budget.blocks and budget.rows > 0:
                overtaken |= {r.id for r in waiting[place:] if r.id in chosen}
            if len(overtaken) > self._patience:
                by = sorted(overtaken)
                yield "no-starvation", f"request {request.id} still waits, though it fits and {by} came later and went"
