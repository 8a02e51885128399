"""Whether the modes of a scenario gave the same requests the same tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from sim.timeline.spans import Timeline

Tokens = Mapping[int, Sequence[int]]
"""What each request received, by its id."""


def received(sampled: Tokens, timeline: Timeline) -> dict[int, list[int]]:
    """Tokens that reached the clients: a run also samples late ones, for requests that had already stopped."""
    return {served.request: list(sampled[served.request][: served.tokens]) for served in timeline.served}


def first_divergences(tokens_by_mode: Mapping[str, Tokens]) -> dict[int, int]:
    """For each request whose tokens are not the same in all modes, the first position where they differ.

    A request that a mode did not serve, or that got fewer tokens, differs at the first that is missing.
    """
    found: dict[int, int] = {}
    for request in sorted({request for tokens in tokens_by_mode.values() for request in tokens}):
        rows = [tokens.get(request, ()) for tokens in tokens_by_mode.values()]
        for position, at in enumerate(zip_longest(*rows)):
            if len(set(at)) > 1:
                found[request] = position
                break
    return found


def tokens_sentence(tokens_by_mode: Mapping[str, Tokens]) -> str:
    """Whether all requests agree, or where the first ones part."""
    number = len({request for tokens in tokens_by_mode.values() for request in tokens})
    apart = first_divergences(tokens_by_mode)
    if not apart:
        return f"tokens: {number} requests agree in all modes"
    places = ", ".join(f"request {request} at token {position}" for request, position in list(apart.items())[:5])
    more = f" and {len(apart) - 5} more" if len(apart) > 5 else ""
    return f"tokens: {len(apart)} of {number} requests differ between modes: {places}{more}"
