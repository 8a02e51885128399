"""What the next step computes. A policy is any callable of (queues, budget) that returns a plan.

It may name prompts in any order and cut them where the budget says so. The scheduler refuses a plan that breaks the
budget, so a policy cannot corrupt a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from sim.serving.request import Request


class PolicyError(ValueError):
    """A policy has answered with a plan that cannot be."""


class Budget(NamedTuple):
    """What one step may take: new tokens of prompts and decode rows together, rows and KV blocks for new requests.

    Without ``chunked`` a prompt is computed whole, and one above the budget goes alone.
    """

    tokens: int
    rows: int
    blocks: int
    block_tokens: int
    chunked: bool = False


class Plan(NamedTuple):
    """So many tokens of each of these prompts, and one token of every running request if ``decode``."""

    prompts: tuple[tuple[Request, int], ...] = ()
    decode: bool = True


DECODE = Plan()
"""Nobody's prompt: those who run decode."""


class Queues(Protocol):
    """Who is there, as a policy sees it."""

    @property
    def waiting(self) -> Sequence[Request]:
        """Requests that hold no KV blocks, in the order in which they are to be considered."""

    @property
    def partial(self) -> Sequence[Request]:
        """Requests that hold blocks and whose prompt is computed in part, in order of admission."""

    @property
    def num_running(self) -> int:
        """Decode rows of the next step, as far as is known."""

    def left(self, request: Request) -> int:
        """Tokens of a prompt that are still to be computed; 0 for one that was computed elsewhere."""

    def cached(self, request: Request) -> int:
        """Tokens of a waiting prompt that need not be computed."""

    def blocks(self, request: Request) -> int:
        """KV blocks that admitting a waiting request takes."""


class Policy(Protocol):
    """The shape of a policy; no base class is needed."""

    def __call__(self, queues: Queues, budget: Budget) -> Plan:
        """The next step; an empty plan waits for a result that is in flight."""


def admitted(plan: Plan, queues: Queues, budget: Budget, decode_rows: int) -> list[Request]:
    """The requests of a plan that are to get blocks; raises ``PolicyError`` for a plan that breaks the budget."""
    partial = queues.partial
    begun = {request.id for request in partial} if partial else ()
    fresh = [request for request, _ in plan.prompts if request.id not in begun]
    tokens = sum([count for _, count in plan.prompts])
    over = tokens + decode_rows > budget.tokens and (budget.chunked or len(plan.prompts) > 1)
    if len(fresh) > budget.rows or over:
        raise PolicyError(
            f"the policy chose {len(plan.prompts)} prompts of {tokens} tokens, {len(fresh)} of them new, beside "
            f"{decode_rows} decode rows, the budget is {budget}"
        )
    if len(plan.prompts) > 1 and len({request.id for request, _ in plan.prompts}) < len(plan.prompts):
        raise not_waiting(request for request, _ in plan.prompts)
    for request, count in plan.prompts:
        left = queues.left(request)
        if not (1 if budget.chunked else max(1, left)) <= count <= left:
            raise PolicyError(f"the policy chose {count} tokens of request {request.id}, which has {left} left")
    need = sum([queues.blocks(request) for request in fresh])
    if need > budget.blocks:
        raise PolicyError(f"the policy chose requests that need {need} blocks, the budget is {budget}")
    return fresh


def not_waiting(requests: Iterable[Request]) -> PolicyError:
    """What is raised for a plan that names others than those who wait."""
    return PolicyError(f"the policy chose requests {[r.id for r in requests]}: not all of them wait")


def prefill_first(queues: Queues, budget: Budget) -> Plan:
    """Prompts whenever one fits, in order until the first that does not; otherwise everybody decodes."""
    prompts = fitting_prompts(queues, budget, budget.tokens)
    return Plan(prompts, decode=not prompts)


def decode_first(queues: Queues, budget: Budget) -> Plan:
    """Prompts only when nobody decodes: the fewest interruptions of those who do, the longest wait for the rest."""
    return Plan() if queues.num_running else prefill_first(queues, budget)


def mixed(queues: Queues, budget: Budget) -> Plan:
    """Everybody decodes in every step, and prompts take the tokens that are left of its budget."""
    return Plan(fitting_prompts(queues, budget, budget.tokens - queues.num_running))


def fitting_prompts(queues: Queues, budget: Budget, tokens: int) -> tuple[tuple[Request, int], ...]:
    """Prompts within so many tokens and the rest of a budget: those begun, then those waiting, none overtaking.

    Where prompts are not cut, the first goes whatever its length. A request that was computed elsewhere has no prompt
    to compute, and none overtakes it: it ends the choice.
    """
    chosen: list[tuple[Request, int]] = []
    rows, blocks = budget.rows, budget.blocks
    for request in queues.partial:
        if tokens < 1:
            break
        chosen.append((request, min(tokens, queues.left(request))))
        tokens -= chosen[-1][1]
    for request in queues.waiting:
        if rows < 1 or (tokens < 1 and (chosen or budget.chunked)):
            break
        left, need = queues.left(request), queues.blocks(request)
        if left < 1 or need > blocks or (left > tokens and chosen and not budget.chunked):
            break
        chosen.append((request, min(tokens, left) if budget.chunked else left))
        tokens, rows, blocks = tokens - chosen[-1][1], rows - 1, blocks - need
    return tuple(chosen)


POLICIES: dict[str, Policy] = {"prefill-first": prefill_first, "decode-first": decode_first, "mixed": mixed}
