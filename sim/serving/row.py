"""A request that holds KV blocks, as its scheduler keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from sim.serving.request import Request


@dataclass(eq=False, slots=True)
class Row:
    """A request that holds KV blocks.

    ``done`` of the ``prompt`` tokens that it computes before it decodes are scheduled; they include the tokens it had
    ``received`` when it lost its blocks. ``before`` counts its tokens when it joined; it computes one more in each
    decode batch whose counter lies in ``joined + 1 .. left`` (``left`` follows the scheduler's counter while it runs).
    ``finished`` rows are dead: their request has ended, or has lost its blocks.
    """

    request: Request
    prompt: int
    received: int = 0
    done: int = 0
    before: int = 0
    joined: int = 0
    left: int = 0
    finished: bool = False
