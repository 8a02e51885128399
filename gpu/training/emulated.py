"""A training scenario on a device of threads that sleep."""

from __future__ import annotations

from gpu.machines.emulated import EmulatedDevice
from gpu.machines.wall import WallMachine
from sim.program.calls import HostCosts
from sim.program.training import TrainingLowering
from sim.serving.source import NoRequests
from sim.timeline.spans import Timeline


class EmulatedTraining:
    """Kernels and calls take what was measured of them; nothing is computed."""

    def __init__(self, lowering: TrainingLowering, costs: HostCosts) -> None:
        self._lowering = lowering
        self._costs = costs

    def run(self, mode: str) -> Timeline:
        """Run all steps of one mode."""
        machine = WallMachine(EmulatedDevice(self._costs), lambda *_: 0)
        return machine.run({"main": self._lowering.loop(mode)}, NoRequests())

    def sampled(self) -> None:
        """There are no tokens."""

    def close(self) -> None:
        """Nothing is held between runs."""
