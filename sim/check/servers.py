"""Invariants of a server: what a watch holds a scheduler, its policy, its blocks and its slots against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """What an invariant forbids, and why that matters."""

    forbids: str
    why: str


SERVERS: Mapping[str, Statement] = {
    "plan-in-budget": Statement(
        "a plan that takes more tokens, rows or blocks than its budget, or a prompt that nobody waits for",
        "an engine that trusts such a plan runs out of memory in the middle of a step",
    ),
    "progress": Statement(
        "a step that computes nothing while requests wait and nothing is in flight, a request that never ends",
        "a server that stops looks like one that has nothing to do",
    ),
    "no-starvation": Statement(
        "a request that waits, although it fits, while more of those that came later go first than the policy allows",
        "a mean hides the client who never gets an answer",
    ),
    "queue-order": Statement(
        "a queue that holds others than those who wait, or shows them in another order than its name says",
        "first come, first served is a promise",
    ),
    "batch-budgets": Statement(
        "a batch of more rows, requests or prompt tokens than the engine was built for",
        "buffers are allocated once, for the largest batch",
    ),
    "rows-add-up": Statement(
        "a batch whose rows, tokens or attended tokens are not those of its members",
        "the step's time, and what its kernels read, follow from these numbers",
    ),
    "steps-in-order": Statement(
        "a step that is numbered, counted or processed out of its turn",
        "stops and slots are found by these numbers",
    ),
    "prompts-in-order": Statement(
        "a piece of a prompt computed twice, left out, before the piece ahead of it, or not as chosen",
        "every token attends to all that lie before it",
    ),
    "tokens-once": Statement(
        "a row that is scheduled twice or left out, a token delivered twice or never, an end told twice or late",
        "a client counts its tokens",
    ),
    "late-rows": Statement(
        "a row after its request's end whose token is delivered, or that is not counted as wasted",
        "a late stop costs a row, and must cost no more than that",
    ),
    "preemption": Statement(
        "a request that loses its blocks for nothing, out of turn, while it waits, or while a step computes it",
        "its prompt is computed again; and a step in flight writes into blocks that are somebody else's by then",
    ),
    "padding-to-a-bucket": Statement(
        "a graph that is too small for its batch, larger than need be, or none although one fits",
        "rows beyond a graph's size are never computed",
    ),
    "kv-no-leak": Statement(
        "blocks that nobody holds and nobody gets",
        "a server that leaks runs out after a day",
    ),
    "kv-one-owner": Statement(
        "a block that two requests write",
        "each attends to the other's tokens",
    ),
    "kv-use-after-free": Statement(
        "a row in flight whose blocks have been returned",
        "they are written by whoever gets them next, while the row still reads them",
    ),
    "kv-freed-once": Statement(
        "blocks that are returned before or after the last row in flight that uses them, or twice",
        "a block that is freed twice is handed out twice",
    ),
    "kv-budget": Statement(
        "blocks beyond the cache, too few for the tokens in them, before they are due, or out of the watermark",
        "the write goes into somebody else's memory; what is taken early keeps another request waiting",
    ),
    "prefix-computed": Statement(
        "a prompt that begins with blocks in which other tokens stand, or with more than was computed",
        "it attends to what somebody else has asked",
    ),
    "future-map-slots": Statement(
        "a row without a slot of its own for its token, or a slot beyond the map",
        "two rows that store to one slot give one of them the other's token",
    ),
    "future-map-written": Statement(
        "a row that reads a slot which no step in flight writes for it",
        "it goes on from a token of another request, or from an old one",
    ),
    "future-map-reuse": Statement(
        "a slot that is handed out while a step in flight may still read it",
        "the reader finds the next owner's token",
    ),
    "future-map-leak": Statement(
        "a slot that stays taken when nobody can read it any more",
        "the map runs full",
    ),
    "no-exception": Statement(
        "an exception out of the scheduler or the policy",
        "a server that crashes has broken every promise at once",
    ),
}
"""By name, in the order in which a step passes them."""
