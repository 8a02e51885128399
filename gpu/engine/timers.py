"""Batches that are plain timers, on a GPU: a kernel that spins for as long as a batch is meant to take."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from gpu.calibration import clock
from gpu.machines.wall import Call
from sim.effects import DEVICE, How, Phase, Step
from sim.program.lowering import Lowering
from sim.program.ops import Kernel, Op, api_name
from sim.timeline.spans import Recorder


class TimerDevice:
    """Runs what a timer's batches are lowered to: a sleep, and the record of the step's event."""

    def __init__(self, lower: Lowering) -> None:
        self._lower = lower
        self._stream = torch.cuda.Stream()
        self._events: dict[Step, Any] = {}
        self._calls = 0
        clock.cycles_per_us()  # taken now rather than in the first launch

    def launch(self, work: Phase | Sequence[Op], stream: str, step: Step) -> list[Call]:
        """Enqueue the batch's kernel."""
        del stream
        assert isinstance(work, Phase)
        ((_, ops),) = self._lower(work)
        calls = []
        with torch.cuda.stream(self._stream):
            for op in ops:
                start = time.perf_counter_ns()
                if isinstance(op, Kernel):
                    clock.sleep(clock.cycles(op.ns / 1000))
                else:
                    self._events[step] = torch.cuda.Event()
                    self._events[step].record(self._stream)
                self._calls += 1
                calls.append(Call(api_name(op), start, time.perf_counter_ns(), self._calls))
        if work.sync_each:
            torch.cuda.synchronize()
        return calls

    def synchronize(self, on: Step | Hashable, how: How) -> None:
        """Wait for a step, or for the whole device."""
        del how
        if on == DEVICE:
            torch.cuda.synchronize()
        else:
            assert isinstance(on, Step)
            self._events.pop(on).synchronize()

    def ready(self, on: Step | Hashable) -> bool:
        """Whether a step is done."""
        assert isinstance(on, Step)
        return bool(self._events[on].query())

    def close(self, recorder: Recorder, origin: int) -> None:
        """Wait for what is still running."""
        del recorder, origin
        torch.cuda.synchronize()
