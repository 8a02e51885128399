"""Iterations of a loop that do what one before did, one token further, without asking the loop."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from sim.effects import Step
from sim.fast.caller import Caller
from sim.fast.iterations import Item, Iterations, Launched, Waited, Worked
from sim.serving.batch import Batch

Price = Callable[[int], Sequence[int]]
"""Durations of a step whose rows attend to so many tokens."""
Enqueue = Callable[[Sequence[int], Step], None]
"""Makes a step's calls, given the durations of its operations."""


class Repeats:
    """What a loop was seen to do twice, by the state that it was in when it began.

    A state is the newest batch's plan and rows, and how many steps are in flight. A loop that keeps no more than that
    from one iteration to the next does the same again.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._known: dict[Hashable, list[Item]] = {}
        self._state: Hashable = None

    def seen(self, state: Hashable, repeated: list[Item] | None) -> list[Item] | None:
        """What the next iteration does from this state, as far as is known; ``repeated`` is what the last two did."""
        if repeated is not None and state == self._state:
            self._known[state] = repeated
        self._state = state
        return self._known.get(state)

    def run(
        self, items: list[Item], batch: Batch, steps: int, arrival: int | None, iterations: Iterations,
        price: Price, enqueue: Enqueue,
    ) -> int:  # fmt: skip
        """Run so many iterations after ``batch``'s, or fewer if something arrives; returns how many."""
        caller = self._caller
        constants = caller.costs.constants
        call = caller.costs.scaled(constants.event_sync_call)
        wake = {how: constants.wake(device=False, blocking=how == "blocking") for how in ("spin", "blocking")}
        deliver = caller.spans.recorder.deliveries.add
        marks: list[int] = [step.mark for step in iterations.steps]
        number = len(marks)
        rows, context, newest, done = batch.rows, batch.decode_context, batch.index, 0
        step = Step(0)
        while done < steps and (arrival is None or caller.now < arrival):
            iterations.began = caller.now
            done += 1
            for item in items:
                if isinstance(item, Worked):
                    caller.now += item.ns
                elif isinstance(item, Launched):
                    newest += 1
                    context += rows
                    enqueue(price(context), step)
                    marks.append(step.mark)
                elif isinstance(item, Waited):
                    start, fired = caller.now, marks[-1 - item.lag]
                    caller.now = max(start + call, fired + wake[item.how]) if fired > start else start + call
                else:
                    index = newest - item.lag
                    deliver(caller.now, index, rows, rows, False, batch.kv_blocks, 0, 0, rows, batch.padding)
        for old, mark in zip(iterations.steps, marks[-number:], strict=True):
            old.mark = mark
            old.index += done
        return done
