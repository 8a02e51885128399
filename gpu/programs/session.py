"""A program made ready to run, any number of times in either of its modes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import groupby

from gpu.machines.wall import Device, WallMachine, no_collection
from scenarios.program import Program
from sim.effects import Effect, Launch, Loop
from sim.program.recipe import Maker, Recipe
from sim.serving.source import NoRequests
from sim.studies.program import program_metrics
from sim.timeline.spans import Timeline

FEWEST, MOST, LONG = 2, 40, 50_000_000
"""Passes of a run, which ends once it has taken so many nanoseconds; the first of every four only warm up."""
TIRING = 2_000_000
"""Passes longer than this (ns) rest between them for as long as they took: an H100 that multiplies large matrices for
60 ms without a pause reaches its power limit, and from then on its clocks and its products are a seventh slower."""


class ProgramSession:
    """``maker`` makes the operations, once; ``new_device`` the device of each pass, ``device`` is the latest one.

    ``in_one``: the device's operations know their streams, so that what goes to several ones is launched in one go.
    """

    def __init__(
        self, program: Program, maker: Maker, new_device: Callable[[], Device], *, in_one: bool = False
    ) -> None:
        self._program = program
        self._maker: Maker | None = maker
        self._new_device = new_device
        self._in_one = in_one
        self._threads: dict[str, dict[str, list[Effect]]] = {}
        self.device: Device | None = None

    def run(self, mode: str) -> Timeline:
        """Run all threads to their end, over and over, and return the pass whose total is the median.

        A program that runs once finds its host's caches full of something else, which costs a graph of a hundred
        kernels a quarter of its time and is no property of the program. Raises ``ScenarioError`` for a graph that
        cannot be captured.
        """
        if mode not in self._threads:
            assert self._maker is not None
            recipe = Recipe(self._maker, graphs=mode == "graph")
            loops = {t.name: list(recipe.loop(t.ops)) for t in self._program.threads}
            self._threads[mode] = {name: merged(loop) for name, loop in loops.items()} if self._in_one else loops
        passes: list[Timeline] = []
        with no_collection():
            worked = 0
            while len(passes) < FEWEST or (len(passes) < MOST and worked < LONG):
                passes.append(self._pass(mode))
                total = program_metrics(passes[-1]).total_ns
                worked += total
                if total > TIRING:
                    time.sleep(total / 1e9)
        warm = sorted(passes[-(-len(passes) // 4) :], key=lambda timeline: program_metrics(timeline).total_ns)
        return warm[(len(warm) - 1) // 2]

    def _pass(self, mode: str) -> Timeline:
        self.device = self._new_device()
        machine = WallMachine(self.device, lambda *_: 0)
        return machine.run({name: again(effects) for name, effects in self._threads[mode].items()}, NoRequests())

    def sampled(self) -> None:
        """A program has no tokens."""

    def close(self) -> None:
        """Give back tensors, streams and graphs."""
        self._threads.clear()
        self._maker = self.device = None


def again(effects: Sequence[Effect]) -> Loop[None]:
    """A loop of effects that are known beforehand: nothing is looked up or captured while it runs."""
    for effect in effects:  # noqa: UP028  a list takes no answers
        yield effect


def merged(effects: Sequence[Effect]) -> list[Effect]:
    """Launches that follow each other as one."""
    found: list[Effect] = []
    for launches, row in groupby(effects, key=lambda effect: isinstance(effect, Launch)):
        if not launches:
            found += row
            continue
        first, *more = (effect for effect in row if isinstance(effect, Launch))
        found.append(Launch([op for one in (first, *more) for op in one.work], first.stream))  # type: ignore[misc]
    return found
