"""A batch as it is handed from the scheduler to a machine, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sim.serving.request import Reason, Request


class Phase(Enum):
    """Which half of inference a batch computes."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(eq=False, slots=True)
class Batch:
    """The rows of one step, closed when it is built.

    ``tokens`` counts new tokens computed: one a row in decode, all prompt tokens in prefill. ``context`` sums, over
    the rows, the tokens that attention reads, the new one included. ``prompts`` lists prompt lengths in prefill.
    ``bucket`` is the row count the graph runs with (None: eager). ``joined`` are rows that were not in the decode
    batch before, ``finishing`` rows whose last token by length this batch produces. ``counter`` numbers the decode
    batches from 1 (0: prefill). ``late`` grows after the batch was built: ids of rows that had already stopped.
    ``slots`` hold this batch's tokens until they are known, ``sources`` are the slots that its inputs name,
    a piece for each earlier step in flight that feeds it.
    """

    index: int
    phase: Phase
    rows: int
    tokens: int
    context: int
    members: tuple[Request, ...]
    joined: tuple[Request, ...] = ()
    finishing: tuple[Request, ...] = ()
    prompts: tuple[int, ...] = ()
    bucket: int | None = None
    counter: int = 0
    late: tuple[int, ...] = ()
    slots: Sequence[int] | None = None
    sources: tuple[range, ...] = ()

    @property
    def padding(self) -> int:
        """Rows that run only to fill the bucket."""
        return 0 if self.bucket is None else self.bucket - self.rows


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a wait returns: when (ns), the sampled tokens where there are real ones, and who stopped."""

    time: int
    stopped: tuple[int, ...] = ()
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """What processing a step hands to the clients.

    ``first`` are requests that got their first token, ``finished`` those that got their last, with the number of
    tokens they received in all. ``tokens`` counts the tokens delivered by this step; ``late`` the rows that ran
    although their request had stopped. ``freed`` are the ids whose last row, late or not, has now been processed.
    """

    batch: Batch
    tokens: int
    first: tuple[Request, ...] = ()
    finished: tuple[tuple[Request, int, Reason], ...] = ()
    late: int = 0
    freed: tuple[int, ...] = ()
