"""The protocol between a loop and whoever runs it.

A loop is a generator that yields effects; a machine interprets them and decides what time is. What a loop may know
is what effects return to it: no loop reads a clock, and a scheduler learns that a request has stopped only from the
``StepResult`` of the step that produced its last token.

Tie rules, part of the contract of every virtual machine:

1. at one instant the device acts before the host;
2. a wake-up is paid only if the event fires after the host began to wait;
3. arrivals at ``t <= now`` are received;
4. equal host threads go in declaration order;
5. launch ``i`` returns at the later of the end of its API call and the start of its stream's entry ``i - Q``;
6. random draws are keyed by (seed, thread, call), never by order of execution.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from sim.program.ops import Op
from sim.serving.batch import Batch, Outputs, StepResult
from sim.serving.request import Request

T = TypeVar("T")
Part = Literal["prepare", "resolve", "forward", "sample", "store", "copy"]
How = Literal["spin", "blocking"]
SERIAL_PARTS: tuple[Part, ...] = ("prepare", "forward", "sample", "copy")
OVERLAP_PARTS: tuple[Part, ...] = ("prepare", "resolve", "forward", "sample", "store", "copy")


class Phase(NamedTuple):
    """The device work of one batch: which of its parts to enqueue, and how.

    ``sync_each`` waits for the device after every operation, as a naive loop does.
    """

    batch: Batch
    parts: tuple[Part, ...] = SERIAL_PARTS
    sync_each: bool = False


@dataclass(eq=False, slots=True)
class Step:
    """A launched piece of work, and the handle to wait for it by; ``mark`` is for the machine that handed it out."""

    index: int
    batch: Batch | None = None
    mark: Any = None


class Arrivals(NamedTuple):
    """Requests that have reached the server by ``now`` (ns); ``closed`` when no more will come."""

    now: int
    requests: tuple[Request, ...]
    closed: bool


class Steady(Protocol):
    """What a server knows of its next iterations, and what a loop asks of it in one."""

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is in flight."""

    def add(self, requests: tuple[Request, ...]) -> None:
        """Queue arrivals."""

    def schedule(self) -> Batch | None:
        """The next batch, None when nothing can be computed before a result comes back."""

    def prepare(self, batch: Batch) -> None:
        """Make a batch ready to be launched."""

    def process(self, batch: Batch, result: StepResult) -> Outputs:
        """Digest a result."""

    def stand_in(self, batch: Batch, newer: Batch) -> None:
        """An old batch becomes one in flight, for a loop that knows the old one."""

    def quiet_steps(self, stop: int | None) -> int:
        """How many of the next iterations would do what the last one did, one token further, if nothing arrives.

        ``stop`` is the number of the decode batch in which the next request stops, as far as the source knows.
        """

    def kv_blocks(self, steps: int) -> list[int]:
        """KV blocks in use while each of the batches in flight runs, and each of so many such iterations."""

    def advance(self, steps: int) -> None:
        """Be where so many such iterations lead; batches in flight become those of that iteration."""


class Receive(NamedTuple):
    """Fetch what has arrived; with ``block``, idle until something arrives or no more will.

    A loop that hands over ``steady`` says that it adds what it receives to it, that it keeps nothing from one iteration
    to the next but batches and steps in flight, and that what it does depends on their number, and of a batch on its
    phase and on whether graphs are replayed: a virtual machine may then run iterations like those it has seen itself.
    """

    block: bool = False
    steady: Steady | None = None


class Host(NamedTuple):
    """Run ``work`` on the host and return its result.

    A virtual machine runs it at the start and charges the preset's cost of ``name`` for the size of ``batch``, or,
    without one, of the batch that ``work`` returns; a wall-clock machine measures it.
    """

    name: str
    work: Callable[[], Any]
    batch: Batch | None = None


class Launch(NamedTuple):
    """Enqueue work; returns a ``Step`` when the last API call returns, which a full launch queue can delay."""

    work: Phase | Sequence[Op]
    stream: str = "forward"


class Wait(NamedTuple):
    """Block until a step's results, a recorded event or the whole device (``DEVICE``) is ready."""

    on: Step | Hashable
    how: How = "spin"


class Ready(NamedTuple):
    """Whether a step's results or a recorded event are there; never blocks."""

    on: Step | Hashable


class Put(NamedTuple):
    """Hand ``item`` to another host thread; never blocks."""

    queue: str
    item: Any


class Get(NamedTuple):
    """Take the oldest item of a queue, blocking while it is empty."""

    queue: str


class Emit(NamedTuple):
    """Tokens reach the clients: the machine stamps them, and clients in a closed loop react."""

    outputs: Outputs


DEVICE = "device"
Effect = Receive | Host | Launch | Wait | Ready | Put | Get | Emit
Loop = Generator[Effect, Any, T]


class Source(Protocol):
    """Where requests come from, and who alone knows when they stop."""

    def take(self, now: int) -> tuple[Request, ...]:
        """Remove and return the requests that have arrived by ``now``."""

    def next_arrival(self) -> int | None:
        """When the next request arrives (ns) as far as is known, None when none is on its way."""

    @property
    def closed(self) -> bool:
        """Whether no request will come any more, on its way or not."""

    def react(self, outputs: Outputs, now: int) -> None:
        """The clients see outputs at ``now``; in a closed loop they send their next requests."""

    def stopped(self, batch: Batch) -> tuple[int, ...]:
        """Ids of the requests whose stop token this batch produced; called once a batch, in launch order."""

    def next_stop(self, oldest: Batch | None = None) -> int | None:
        """Number of the decode batch in which the next request stops, as far as is known from batches so far.

        Those are the ones that ``stopped`` was asked about, and the ``oldest`` in flight, which is the next.
        """


def host(name: str, work: Callable[[], T], batch: Batch | None = None) -> Generator[Effect, Any, T]:
    """Typed ``Host``."""
    result: T = yield Host(name, work, batch)
    return result


def receive(*, block: bool, steady: Steady | None = None) -> Generator[Effect, Any, Arrivals]:
    """Typed ``Receive``."""
    arrivals: Arrivals = yield Receive(block, steady)
    return arrivals


def launch(work: Phase | Sequence[Op], stream: str = "forward") -> Generator[Effect, Any, Step]:
    """Typed ``Launch``."""
    step: Step = yield Launch(work, stream)
    return step


def get(queue: str) -> Generator[Effect, Any, Any]:
    """``Get`` as an expression."""
    item: Any = yield Get(queue)
    return item


def wait(on: Step | Hashable, how: How = "spin") -> Generator[Effect, Any, StepResult]:
    """Typed ``Wait``."""
    result: StepResult = yield Wait(on, how)
    return result
