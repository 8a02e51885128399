"""A request as its server knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Why a request ended."""

    LENGTH = "length"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent, and the limit it set.

    ``context`` counts prompt tokens; with ``computed`` their KV entries are already there (a closed batch that starts
    at its first decode step). ``max_tokens`` bounds the output. When a stop token will come is not here: only the
    workload knows. ``arrival`` is nanoseconds.
    """

    id: int
    context: int
    max_tokens: int
    arrival: int = 0
    computed: bool = False

    def __post_init__(self) -> None:
        if self.context < 1 or self.max_tokens < 1 or self.arrival < 0:
            raise ValueError(
                f"request {self.id}: context and max_tokens must be at least 1 and arrival at least 0, "
                f"got {self.context}, {self.max_tokens}, {self.arrival}"
            )
