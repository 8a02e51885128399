"""What must never happen, by name, and how a run is held against it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from sim.program.calls import HostCosts
from sim.program.ops import Collective, Copy, Kernel, Op, Replay
from sim.timeline.spans import Timeline

FEW = 5  # violations of one invariant that are told; a broken run breaks it everywhere


@dataclass(frozen=True, slots=True)
class Violation:
    """One sentence about what happened that must not, and the rows of the timeline's table that show it."""

    invariant: str
    sentence: str
    spans: tuple[int, ...] = ()

    def __str__(self) -> str:
        """The sentence behind the invariant's name."""
        return f"{self.invariant}: {self.sentence}"


class BrokenError(AssertionError):
    """A run broke an invariant; ``violations`` has one or more."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(violations)  # a process of SimPy raises a copy of what ended it, made from its arguments
        self.violations = tuple(violations)

    def __str__(self) -> str:
        """A line for each violation."""
        return "\n".join(map(str, self.violations))


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation as a host thread enqueued it: on which stream of which rank, in which thread's which place.

    ``waits`` lists the entries that an event makes this one wait for, and ``call`` and ``spans`` are rows of the
    timeline: its call, and its device work.
    """

    op: Op
    stream: tuple[int, str]
    call: int
    spans: tuple[int, ...] = ()
    waits: tuple[Entry, ...] = ()

    @property
    def takes_a_slot(self) -> bool:
        """Whether it is a launch, which takes a slot of the stream's queue and has device work."""
        return isinstance(self.op, Kernel | Replay | Copy | Collective)


@dataclass(frozen=True)
class Evidence:
    """A timeline, and what else is known of the run that it is of.

    ``costs`` are those of the machine that simulated it, ``entries`` what its host threads enqueued, in the order of
    the calls, ``warm`` the executable graphs that had been launched before. Without ``simulated`` a timeline was
    measured: then calls and the work that they launch may overlap, and times of host and device compare only up to the
    timeline's ``clock_error``.
    """

    timeline: Timeline
    costs: HostCosts | None = None
    entries: tuple[Entry, ...] | None = None
    simulated: bool = True
    warm: frozenset[Hashable] = frozenset()

    def has(self, names: Iterable[str]) -> bool:
        """Whether everything that an invariant needs is known."""
        return all(getattr(self, name) is not None for name in names)


Found = Iterator[tuple[str, tuple[int, ...]]]
Find = Callable[[Evidence], Found]
"""Yields a sentence for each violation, with the rows that show it."""


@dataclass(frozen=True, slots=True)
class Invariant:
    """A statement about every run: what it ``forbids``, ``why`` that matters, and what evidence it ``needs``."""

    name: str
    forbids: str
    why: str
    find: Find
    needs: tuple[str, ...] = ()


class Invariants(Mapping[str, Invariant]):
    """Invariants by name, in the order in which they were stated."""

    def __init__(self) -> None:
        self._all: dict[str, Invariant] = {}

    def state(self, name: str, *, forbids: str, why: str, needs: tuple[str, ...] = ()) -> Callable[[Find], Find]:
        """Decorate what finds the violations of an invariant."""

        def stated(find: Find) -> Find:
            self._all[name] = Invariant(name, forbids, why, find, needs)
            return find

        return stated

    def broken(self, evidence: Evidence, names: Iterable[str] | None = None) -> list[Violation]:
        """The first few violations of each invariant that the evidence suffices for."""
        found: list[Violation] = []
        for name in self._all if names is None else names:
            one = self._all[name]
            if evidence.has(one.needs):
                found += [Violation(name, *told) for told in islice(one.find(evidence), FEW)]
        return found

    def hold(self, evidence: Evidence, names: Iterable[str] | None = None) -> None:
        """Raise ``BrokenError`` unless they all do."""
        found = self.broken(evidence, names)
        if found:
            raise BrokenError(found)

    def __getitem__(self, name: str) -> Invariant:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
