"""Iterations of a loop that do what one before did, one token further, without asking the loop."""

from __future__ import annotations

from collections.abc import Hashable

from sim.fast.caller import Caller
from sim.fast.iterations import Item, Worked
from sim.fast.plan import Plan
from sim.fast.quiet import Stretch
from sim.program.frame import Frame

State = tuple[Frame, int, int]
"""The newest batch's frame and rows, and how many steps are in flight."""
Known = tuple[list[int], Stretch]
"""What each piece of host work takes in an iteration, and code for many like it."""


class Repeats:
    """What a loop was seen to do twice, by the state that it was in when it began.

    A loop that keeps no more than that from one iteration to the next does the same again.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._known: dict[State, Known] = {}
        self._state: State | None = None
        self._stretches: dict[Hashable, Stretch] = {}

    def seen(self, state: State, repeated: list[Item] | None, plan: Plan) -> Known | None:
        """What the next iteration does from this state, as far as is known; ``repeated`` is what the last two did."""
        if repeated is not None and state == self._state and state not in self._known:
            work = [item.ns for item in repeated if isinstance(item, Worked)]
            self._known[state] = work, self._stretch(repeated, state[0], plan)
        self._state = state
        return self._known.get(state)

    def _stretch(self, items: list[Item], frame: Frame, plan: Plan) -> Stretch:
        """Code for such iterations, the same for all numbers of rows."""
        key = frame, tuple(item._replace(ns=0) if isinstance(item, Worked) else item for item in items)
        found = self._stretches.get(key)
        if found is None:
            found = self._stretches[key] = Stretch(self._caller, items, frame, plan)
        return found
