"""A scheduling policy of one's own, to start from: ``overlapsim check --template mine.py`` copies this file."""

from __future__ import annotations

from sim.serving.policies import Budget, Plan, Queues
from sim.serving.request import Request


class MyPolicy:
    """Prompts in the order of the queue, at most so many at a time; everybody else decodes in between.

    The scheduler asks before every step for which somebody waits, or has part of a prompt computed. ``queues`` tells
    who is there: ``partial`` (admitted, prompt computed in part), ``waiting``, ``num_running``, and of a request how
    many tokens of its prompt are ``left``, how many are ``cached``, how many KV ``blocks`` admitting it takes. What a
    step may take is in ``budget``: ``tokens``, ``rows`` and ``blocks`` for those admitted, and ``chunked`` if prompts
    may be cut. An object is made anew for every run, so it may remember.
    """

    def __init__(self) -> None:
        self.most = 2

    def __call__(self, queues: Queues, budget: Budget) -> Plan:
        """The next step."""
        if queues.partial:  # those whose prompt has begun go on with it
            request = queues.partial[0]
            return Plan(((request, min(queues.left(request), budget.tokens)),), decode=False)
        chosen: list[tuple[Request, int]] = []
        tokens, blocks = budget.tokens, budget.blocks
        for request in queues.waiting:
            left = queues.left(request)
            if len(chosen) >= min(self.most, budget.rows) or queues.blocks(request) > blocks:
                break
            if chosen and left > tokens:
                break  # a prompt above the budget goes alone, or in pieces
            count = min(left, tokens) if budget.chunked else left
            chosen.append((request, count))
            tokens, blocks = tokens - count, blocks - queues.blocks(request)
        return Plan(tuple(chosen), decode=not chosen)
