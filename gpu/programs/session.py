"""A program made ready to run, any number of times in either of its modes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpu.machines.wall import Device, WallMachine
from scenarios.program import Program
from sim.effects import Effect, Loop
from sim.program.recipe import Maker, Recipe
from sim.serving.source import NoRequests
from sim.timeline.spans import Timeline


class ProgramSession:
    """``maker`` makes the operations, once; ``new_device`` the device of each run, ``device`` is the latest one."""

    def __init__(self, program: Program, maker: Maker, new_device: Callable[[], Device]) -> None:
        self._program = program
        self._maker: Maker | None = maker
        self._new_device = new_device
        self._threads: dict[str, dict[str, list[Effect]]] = {}
        self.device: Device | None = None

    def run(self, mode: str) -> Timeline:
        """Run all threads to their end; raises ``ScenarioError`` for a graph that cannot be captured."""
        if mode not in self._threads:
            assert self._maker is not None
            recipe = Recipe(self._maker, graphs=mode == "graph")
            self._threads[mode] = {t.name: list(recipe.loop(t.ops)) for t in self._program.threads}
        self.device = self._new_device()
        machine = WallMachine(self.device, lambda _name, _rows, _tokens: 0)
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
