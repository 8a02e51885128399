"""Operations that a host thread can enqueue. Durations are nanoseconds alone on the device, without any gap."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

Direction = Literal["h2d", "d2h"]
STEP = "the step's own event"
"""Recorded by a step's operations, this event is what waiting for the step waits for."""
INPUTS = "inputs"
"""Recorded when a step's inputs are on the device: the latest launched step's, where a stage of its own brings them."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: ``ns`` of device time while nothing else runs.

    ``call`` names the framework's operation that launches it (its host cost is looked up by that name); ``sm`` is
    the share of the multiprocessors it occupies, which decides what it may run beside. ``flops`` and ``bytes`` are
    its work, for reports; the duration has already been derived from them.
    """

    name: str
    call: str
    ns: int
    sm: float = 1.0
    flops: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Graph:
    """The kernels of a captured graph and what each waits for.

    ``after`` is None for a chain (each kernel after the one before), else one tuple of earlier positions a kernel. Only
    a chain may hold collectives, and they are not its first node.
    """

    kernels: tuple[Kernel | Collective, ...]
    after: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if not self.kernels:
            raise ValueError("a graph needs at least one kernel")
        collective = [isinstance(kernel, Collective) for kernel in self.kernels]
        if collective[0] or (any(collective) and self.after is not None):
            raise ValueError("a graph with collectives must be a chain that does not begin with one")
        if self.after is not None:
            if len(self.after) != len(self.kernels):
                raise ValueError(f"{len(self.kernels)} kernels but {len(self.after)} dependency lists")
            if any(not 0 <= j < i for i, deps in enumerate(self.after) for j in deps):
                raise ValueError("a kernel of a graph can wait only for earlier ones")

    @property
    def first(self) -> Kernel:
        """The node that starts with the graph."""
        first = self.kernels[0]
        assert isinstance(first, Kernel)
        return first

    @property
    def plain(self) -> tuple[Kernel, ...]:
        """All nodes, for a machine of one rank; raises ``ValueError`` when one of them is a collective."""
        plain = tuple(kernel for kernel in self.kernels if isinstance(kernel, Kernel))
        if len(plain) < len(self.kernels):
            raise ValueError("a graph with collectives needs a machine of several ranks")
        return plain


@dataclass(frozen=True, slots=True)
class Replay:
    """One launch of an executable graph. ``executable`` is its identity: two replays of one never run at once.

    The body is given with each replay since the kernels of one executable take longer as contexts grow.
    """

    executable: Hashable
    graph: Graph


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy between host and device on a copy engine.

    A pageable copy (``pinned`` false) goes through a staging buffer and holds the calling thread until it is done.
    """

    direction: Direction
    ns: int
    bytes: int = 0
    pinned: bool = True

    @property
    def name(self) -> str:
        """As profilers call it, such as ``Memcpy HtoD (Pinned)``."""
        return f"Memcpy {'HtoD' if self.direction == 'h2d' else 'DtoH'} ({'Pinned' if self.pinned else 'Pageable'})"


@dataclass(frozen=True, slots=True)
class Record:
    """Record an event: it fires when everything before it in the stream is done. ``timed`` ones also stamp a clock."""

    event: Hashable
    timed: bool = False


@dataclass(frozen=True, slots=True)
class WaitEvent:
    """Hold the stream until the event's latest record, as of this call, has fired. No host thread waits."""

    event: Hashable


@dataclass(frozen=True, slots=True)
class Collective:
    """A kernel that every one of ``ranks`` enters and none leaves until ``ns`` after the last has entered.

    It spins: a rank that arrives early keeps its share of multiprocessors busy while it waits.
    """

    key: Hashable
    ranks: int
    ns: int
    sm: float = 0.15

    @property
    def name(self) -> str:
        """As timelines call it."""
        return f"collective {self.key}"


@dataclass(frozen=True, slots=True)
class Think:
    """Host time that enqueues nothing."""

    ns: int
    name: str = "think"


ENTER_STREAM = "enter stream"
"""The thought of a host that makes another stream the one that its calls go to."""

Op = Kernel | Replay | Copy | Record | WaitEvent | Collective | Think


def api_name(op: Op) -> str:
    """The call of the CUDA runtime that enqueues an operation; of a thought its own name."""
    match op:
        case Kernel() | Collective():
            return "cudaLaunchKernel"
        case Replay():
            return "cudaGraphLaunch"
        case Copy():
            return "cudaMemcpyAsync" if op.pinned else "cudaMemcpy"
        case Record():
            return "cudaEventRecord"
        case WaitEvent():
            return "cudaStreamWaitEvent"
        case Think():
            return op.name


def num_kernels(ops: tuple[Op, ...] | list[Op]) -> int:
    """Kernels that these operations run, graph nodes included."""
    return sum(len(op.graph.kernels) if isinstance(op, Replay) else isinstance(op, Kernel | Collective) for op in ops)
