"""A batch as it is handed from the scheduler to a machine, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from sim.serving.request import Reason, Request


class Phase(Enum):
    """Which half of inference a batch computes: prompts, one new token a row, or both in one step."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


class Chunk(NamedTuple):
    """A piece of a prompt: ``tokens`` of it from ``start`` on, which attend to all that lies before them.

    ``output`` is the number, counted from 1, of the token that the request gets for it: 0 when its prompt does not end
    here, and above 1 when it is computed again, with the tokens that the request already had, after a preemption.
    """

    request: Request
    start: int
    tokens: int
    output: int

    @property
    def stop(self) -> int:
        """Tokens that the last token of the chunk attends to, itself included."""
        return self.start + self.tokens


@dataclass(eq=False, slots=True)
class Batch:
    """The rows of one step, closed when it is built: decode rows first, then the ``prompts``, a row each.

    ``tokens`` counts new tokens computed: one a decode row, and those of the prompts. ``decode_context`` sums, over
    the decode rows, the tokens that attention reads, the new one included. ``bucket`` is the row count the graph runs
    with (None: eager), ``pieces`` the tokens that a step with prompts is padded to, which replays its forward pass in
    pieces. ``joined`` are rows that were not in the decode batch before, ``finishing`` rows whose last
    token by length this batch produces. ``counter`` numbers the batches with decode rows from 1 (0: prefill).
    ``admitted`` are requests that got their blocks for this step, ``preempted`` those that lost them before it,
    ``cached`` the prompt tokens that need not be computed because a request before had the same, ``kv_blocks`` the
    blocks in use while it runs. ``late`` grows after the batch was built: ids of rows that had already stopped.
    ``slots`` hold this batch's tokens until they are known, ``sources`` are the slots that its inputs name, a piece
    for each earlier step in flight that feeds it.
    """

    index: int
    phase: Phase
    rows: int
    tokens: int
    decode_context: int
    members: tuple[Request, ...]
    joined: tuple[Request, ...] = ()
    finishing: tuple[Request, ...] = ()
    prompts: tuple[Chunk, ...] = ()
    bucket: int | None = None
    pieces: int | None = None
    counter: int = 0
    admitted: tuple[Request, ...] = ()
    preempted: tuple[Request, ...] = ()
    cached: int = 0
    kv_blocks: int = 0
    late: tuple[int, ...] = ()
    slots: Sequence[int] | None = None
    sources: tuple[range, ...] = ()

    def become(self, other: Batch) -> None:
        """Be like another one."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Put prompts behind the decode rows, while the batch is built."""
        self.phase = Phase.MIXED if self.rows else Phase.PREFILL
        self.rows += len(chunks)
        self.tokens += sum([chunk.tokens for chunk in chunks])
        self.members += tuple([chunk.request for chunk in chunks])
        self.prompts = tuple(chunks)

    @property
    def first(self) -> tuple[Request, ...]:
        """Requests that get their first token for their prompt."""
        late = self.late
        return tuple([chunk.request for chunk in self.prompts if chunk.output == 1 and chunk.request.id not in late])

    @property
    def decode_rows(self) -> int:
        """Rows that compute one token after those they have."""
        return self.rows - len(self.prompts)

    @property
    def partial(self) -> int:
        """Rows whose prompt does not end here: what they sample is dropped."""
        return sum([not chunk.output for chunk in self.prompts])

    @property
    def padding(self) -> int:
        """Rows that run only to fill the bucket."""
        return 0 if self.bucket is None else self.bucket - self.rows


class StepResult(NamedTuple):
    """What a wait returns: when (ns), the sampled tokens where there are real ones, and who stopped."""

    time: int
    stopped: tuple[int, ...] = ()
    tokens: tuple[int, ...] | None = None


class Outputs(NamedTuple):
    """What processing a step hands to the clients.

    ``first`` are requests that got their first token, ``finished`` those that got their last, with the number of
    tokens they received in all. ``tokens`` counts the tokens delivered by this step: of all rows but those whose
    prompt goes on, and but the ``late`` ones, which ran although their request had stopped. ``freed`` are the ids
    whose last row, late or not, has now been processed.
    """

    batch: Batch
    tokens: int
    first: tuple[Request, ...] = ()
    finished: tuple[tuple[Request, int, Reason], ...] = ()
    late: int = 0
    freed: tuple[int, ...] = ()
