"""What a loop does in one iteration, so that one that repeats can be recognized."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from sim.effects import How, Step
from sim.fast.plan import Plan
from sim.serving.batch import Batch, Outputs

REMEMBERED = 8
"""Steps that an iteration may look back on."""


class Worked(NamedTuple):
    """Host time, for the step launched ``lag`` launches before the newest (-1: the next one), or for none."""

    ns: int
    name: str
    lag: int | None = None


class Launched(NamedTuple):
    """A batch's launch, by its plan."""

    plan: Plan


class Waited(NamedTuple):
    """A wait for the step launched ``lag`` launches before the newest; ``late`` if it fired after the wait began."""

    lag: int
    how: How
    late: bool


class Emitted(NamedTuple):
    """Tokens of the step launched ``lag`` launches before the newest, one for each row."""

    lag: int


Item = Worked | Launched | Waited | Emitted


class Iterations:
    """The ``current`` iteration and the one before, each from a ``Receive`` to the next; None is not to be repeated."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque(maxlen=REMEMBERED)
        self.launches = 0
        self.began = 0
        self.period = 0
        self.current: list[Item] | None = None
        self._before: list[Item] | None = None
        self._waited: Step | None = None

    @property
    def oldest(self) -> Batch | None:
        """The batch of the first step launched after the last one that was waited for."""
        return self.steps[-self.in_flight].batch if 0 < self.in_flight <= len(self.steps) else None

    @property
    def in_flight(self) -> int:
        """Steps launched after the last one that was waited for."""
        if self._waited is None or not self.steps:
            return len(self.steps)
        return self.steps[-1].index - self._waited.index

    def begin(self, now: int) -> list[Item] | None:
        """A new iteration begins; returns what the last one did if the one before did the same.

        Only an iteration of a single launch is returned: others may go more than one token further.
        """
        done, before = self.current, self._before
        self.period, self.began = now - self.began, now
        self._before, self.current = done, []
        if done is None or done != before:
            return None
        return done if sum(isinstance(item, Launched) for item in done) == 1 else None

    def worked(self, ns: int, name: str, batch: Batch | None) -> None:
        """The host thread worked, for a batch or for none."""
        if self.current is not None:
            lag = None if batch is None else (self.steps[-1].index if self.steps else -1) - batch.index
            self.current.append(Worked(ns, name, lag))

    def broken(self) -> None:
        """Something that cannot be repeated, or need not be known."""
        self.current = None

    def passed(self, count: int) -> None:
        """So many iterations like the last one have passed."""
        self.launches += count
        for step in self.steps:
            step.index += count

    def launched(self, plan: Plan, step: Step) -> None:
        """A batch was launched."""
        self.steps.append(step)
        if self.current is not None:
            self.current.append(Launched(plan))

    def delivered(self, step: Step) -> None:
        """A step was waited for in an iteration that is not to be repeated."""
        self._waited = step
        self.current = None

    def waited(self, step: Step, how: How, *, late: bool) -> None:
        """A step was waited for."""
        self._waited = step
        if self.current is None:
            return
        for lag, other in enumerate(reversed(self.steps)):
            if other is step:
                self.current.append(Waited(lag, how, late))
                return
        self.broken()

    def emitted(self, outputs: Outputs) -> None:
        """Outputs reached the clients."""
        if self.current is None:
            return
        if not (outputs.first or outputs.finished or outputs.freed or outputs.late):
            for lag, step in enumerate(reversed(self.steps)):
                if step.batch is outputs.batch:
                    self.current.append(Emitted(lag))
                    return
        self.broken()


def looks_back(items: Iterable[Item]) -> int:
    """How many steps launched before an iteration it still waits for."""
    launched, found = 0, 0
    for item in items:
        if isinstance(item, Launched):
            launched += 1
        elif isinstance(item, Waited | Emitted):
            found = max(found, item.lag - launched + 1)
    return found
