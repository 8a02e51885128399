"""Host threads of a server whose model is spread over ranks, each a process with a device of its own.

Rank 0 schedules, prepares and processes, as it would alone. When it has scheduled a batch it hands it to the others,
each of which prepares its part and launches it phase by phase. Nothing else keeps ranks together: a collective starts
when the slowest of them arrives, and only rank 0 waits for results. So a rank whose host is late holds up everybody's
device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.effects import Get, Host, Launch, Loop, Phase, Put, host, launch
from sim.serving.batch import Batch


def rank_name(number: int) -> str:
    """What a follower's thread, and the queue to it, are called."""
    return f"rank {number}"


def ranked_loops(loop: Loop[None], ranks: int) -> Mapping[str, Loop[None]]:
    """The threads of all ranks around a loop that launches every batch, in one phase or in several."""
    names = [rank_name(number) for number in range(1, ranks)]
    return {"scheduler": _leading(loop, names), **{name: _following(name) for name in names}}


def ranks_of(ranks: int) -> dict[str, int]:
    """Where each of these threads runs."""
    return {"scheduler": 0} | {rank_name(number): number for number in range(1, ranks)}


def _leading(loop: Loop[None], followers: Sequence[str]) -> Loop[None]:
    """Run a loop, and tell the others of a batch before preparing it, and of its launch as it begins."""
    answer: Any = None
    while True:
        try:
            effect = loop.send(answer)
        except StopIteration:
            break
        if isinstance(effect, Host) and effect.name == "prepare":
            for name in followers:
                yield Put(name, effect.batch)
        if isinstance(effect, Launch):
            for name in followers:
                yield Put(name, effect.work)
        answer = yield effect
    for name in followers:
        yield Put(name, None)


def _following(name: str) -> Loop[None]:
    """Prepare the batches and launch the phases that rank 0 hands over; tokens go back to the host from it alone."""
    while True:
        work: Batch | Phase | None = yield Get(name)
        if work is None:
            return
        if isinstance(work, Phase):
            parts = tuple(part for part in work.parts if part != "copy")
            yield from launch(Phase(work.batch, parts, work.sync_each))
        else:
            yield from host("receive", lambda: None)
            yield from host("prepare", lambda: None, work)
