"""A serving scenario whose batches are lowered to operations, on a wall-clock device."""

from __future__ import annotations

from collections.abc import Callable

from gpu.machines.wall import Device, WallMachine, pause
from sim.studies.serving import ServingRun
from sim.timeline.spans import Timeline


class LoweredServing:
    """The server's work takes what the preset says; ``new_device`` makes a run's device, ``device`` is the latest.

    ``wait`` is how that work is spent.
    """

    def __init__(self, run: ServingRun, new_device: Callable[[], Device], wait: Callable[[int], None] = pause) -> None:
        self._run = run
        self._spend = run.costs().work_ns
        self._new_device = new_device
        self._wait = wait
        self.device: Device | None = None

    def run(self, mode: str) -> Timeline:
        """Serve all requests in one mode."""
        self.device = self._new_device()
        return self._run.serve(mode, WallMachine(self.device, self._spend, self._wait).run)

    def sampled(self) -> None:
        """Nothing is computed, so there are no tokens."""

    def close(self) -> None:
        """Nothing is held between runs."""
