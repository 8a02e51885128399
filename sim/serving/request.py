"""A request as its server knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

HASH_TOKENS = 512
"""Tokens of a prompt that one of its hashes stands for, as in Mooncake's traces."""


class Reason(Enum):
    """Why a request ended."""

    LENGTH = "length"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent, and the limit it set.

    ``context`` counts prompt tokens; with ``computed`` their KV entries are already there (a closed batch that starts
    at its first decode step). ``max_tokens`` bounds the output. When a stop token will come is not here: only the
    workload knows. ``arrival`` is nanoseconds. ``hashes`` name the prompt's tokens, ``HASH_TOKENS`` each: prompts begin
    alike as far as their hashes do.
    """

    id: int
    context: int
    max_tokens: int
    arrival: int = 0
    computed: bool = False
    hashes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.context < 1 or self.max_tokens < 1 or self.arrival < 0:
            raise ValueError(
                f"request {self.id}: context and max_tokens must be at least 1 and arrival at least 0, "
                f"got {self.context}, {self.max_tokens}, {self.arrival}"
            )
