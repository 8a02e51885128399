"""A device that computes while it is called, such as torch on a CPU: its spans are those of its calls."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence

from gpu.machines.wall import Call, Device
from sim.effects import How, Phase, Step
from sim.program.ops import Op
from sim.timeline.spans import Kind, Place, Recorder


class Inline:
    """Keeps the account of another device: one span of the host and one of the device for each launch."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._spans: list[tuple[int, int, str, int]] = []

    def launch(self, work: Phase | Sequence[Op], stream: str, step: Step) -> tuple[Call, ...]:
        """Compute the work."""
        start = time.perf_counter_ns()
        self._device.launch(work, stream, step)
        end = time.perf_counter_ns()
        name = work.batch.phase.value if isinstance(work, Phase) else "kernel"
        self._spans.append((start, end, name, step.index))
        return (Call("launch", start, end, len(self._spans)),)

    def synchronize(self, on: Step | Hashable, how: How) -> tuple[int, ...] | None:
        """Fetch what a launch has left."""
        return self._device.synchronize(on, how)

    def ready(self, on: Step | Hashable) -> bool:
        """Whatever was launched is done."""
        return self._device.ready(on)

    def close(self, recorder: Recorder, origin: int) -> None:
        """Record the device's spans."""
        self._device.close(recorder, origin)
        track = recorder.track("forward", Place.STREAM)
        for correlation, (start, end, name, step) in enumerate(self._spans, start=1):
            number = recorder.name(name)
            recorder.span(track, start - origin, end - origin, Kind.KERNEL, number, correlation, step)
