"""Who is prefilled next. A policy is any callable of (waiting, num_running, budget) -> requests to prefill now.

An empty answer means: decode. Requests keep their order of arrival in ``waiting``. The scheduler refuses an answer
that breaks the budget, so a policy cannot corrupt a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sim.serving.request import Request


@dataclass(frozen=True, slots=True)
class Budget:
    """What one prefill step may take: prompt tokens, rows, and tokens of KV cache (whole pages)."""

    tokens: int
    rows: int
    kv_tokens: int
    page: int

    def kv_need(self, request: Request) -> int:
        """KV tokens to reserve for a request: prompt, longest output and one late row, in whole pages."""
        return -(-(request.context + request.max_tokens + 1) // self.page) * self.page


class Policy(Protocol):
    """The shape of a policy; no base class is needed."""

    def __call__(self, waiting: Sequence[Request], num_running: int, budget: Budget) -> Sequence[Request]:
        """Requests of ``waiting`` to prefill in this step, none of them computed; nothing to decode instead."""


def prefill_first(waiting: Sequence[Request], num_running: int, budget: Budget) -> list[Request]:
    """First come, first served, whenever the head fits; a prompt above the token budget goes alone.

    A computed request has nothing to prefill, and none overtakes it: it ends the choice.
    """
    del num_running
    chosen: list[Request] = []
    tokens, rows, kv = budget.tokens, budget.rows, budget.kv_tokens
    for request in waiting:
        need = budget.kv_need(request)
        if request.computed or rows < 1 or need > kv or (chosen and request.context > tokens):
            break
        chosen.append(request)
        tokens, rows, kv = tokens - request.context, rows - 1, kv - need
    return chosen


def decode_first(waiting: Sequence[Request], num_running: int, budget: Budget) -> list[Request]:
    """Prefill only when nothing runs: the fewest interruptions of those who decode, the longest wait for the rest."""
    return [] if num_running else prefill_first(waiting, num_running, budget)


POLICIES: dict[str, Policy] = {"prefill-first": prefill_first, "decode-first": decode_first}
