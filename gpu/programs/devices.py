"""Devices that run a program's bound operations."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from threading import Lock, local

import torch

from gpu.machines.wall import Call, busy
from gpu.programs.bound import BoundReplay
from gpu.programs.torch_maker import TorchMaker, new_event
from sim.effects import DEVICE, How, Phase, Step
from sim.program.ops import Copy, Kernel, Op, Record, Think, WaitEvent, api_name
from sim.timeline.spans import Kind, Place, Recorder


def work_for(ns: int) -> None:
    """A host's own work, which takes so long."""
    busy(time.perf_counter_ns() + ns)


class Train:
    """Calls one after the other: operations and the moments between them (ns); the spans are written when asked for."""

    def __init__(self, ops: Sequence[Op], stamps: Sequence[int], correlation: int) -> None:
        self._ops = ops
        self._stamps = stamps
        self._correlation = correlation

    def __iter__(self) -> Iterator[Call]:
        """The spans of the calls."""
        for number, op in enumerate(self._ops):
            start, end = self._stamps[number : number + 2]
            if isinstance(op, Think):
                yield Call(op.name, start, end, 0, Kind.HOST)
            else:
                yield Call(api_name(op), start, end, self._correlation + number)


class CudaProgramDevice:
    """Enqueues bound operations in CUDA streams. It keeps no account of what the device does and when.

    A thread's first operations go to the stream of their launch; what enters another one is an operation among them.
    """

    def __init__(self, maker: TorchMaker) -> None:
        self._maker = maker
        self._threads = local()
        self._counting = Lock()
        self._calls = 0
        torch.cuda.synchronize()  # tensors made on another stream are there before these streams use them

    def launch(self, work: Phase | Sequence[Op], stream: str, step: Step) -> Train:
        """One call an operation, and a look at the clock after it."""
        del step
        assert not isinstance(work, Phase)
        if not hasattr(self._threads, "began"):
            self._threads.began = True
            torch.cuda.set_stream(self._maker.stream(stream))
        clock = time.perf_counter_ns
        stamps = [clock()]
        for op in work:
            if op.__class__ is Think:
                work_for(op.ns)
            else:
                op.run()  # type: ignore[union-attr]
            stamps.append(clock())
        with self._counting:
            self._calls += len(work)
            return Train(work, stamps, self._calls - len(work) + 1)

    def synchronize(self, on: Step | Hashable, how: How) -> None:
        """Wait for an event in the way it was made for, or for all streams."""
        if on != DEVICE:
            self._maker.events[on].synchronize()
        elif how == "spin":
            torch.cuda.synchronize()
        else:
            for stream in list(self._maker.streams.values()):
                done = new_event(blocking=True)
                done.record(stream)
                done.synchronize()

    def ready(self, on: Step | Hashable) -> bool:
        """Whether an event has fired; one that nobody has recorded is as good as fired."""
        return bool(self._maker.events[on].query())

    def close(self, recorder: Recorder, origin: int) -> None:
        """Wait for what is still running."""
        del recorder, origin
        torch.cuda.synchronize()
        torch.cuda.set_stream(torch.cuda.default_stream())


class CpuProgramDevice:
    """Computes while it is called: a kernel's span is its call's, and events have fired when they are recorded.

    Streams are names that keep two threads' work apart; a graph's kernels run one after the other in one call.
    """

    def __init__(self) -> None:
        self._locks: dict[str, Lock] = {}
        self._spans: list[tuple[str, Op, int, int, int]] = []
        self._correlation = count(1).__next__

    def launch(self, work: Phase | Sequence[Op], stream: str, step: Step) -> list[Call]:
        """Run the operations."""
        del step
        assert not isinstance(work, Phase)
        calls: list[Call] = []
        with self._locks.setdefault(stream, Lock()):
            for op in work:
                start = time.perf_counter_ns()
                if isinstance(op, Think):
                    work_for(op.ns)
                    calls.append(Call(op.name, start, time.perf_counter_ns(), 0, Kind.HOST))
                    continue
                correlation = self._correlation()
                for node in op.body if isinstance(op, BoundReplay) else (op,):
                    before = time.perf_counter_ns()
                    node.run()  # type: ignore[union-attr]
                    self._spans.append((stream, node, before, time.perf_counter_ns(), correlation))
                calls.append(Call("launch", start, time.perf_counter_ns(), correlation))
        return calls

    def synchronize(self, on: Step | Hashable, how: How) -> None:
        """Everything that this thread has launched is done; for the whole device, also what others have launched."""
        del how
        with ExitStack() as stack:
            for lock in list(self._locks.values()) if on == DEVICE else []:
                stack.enter_context(lock)

    def ready(self, on: Step | Hashable) -> bool:
        """What has been launched is done."""
        del on
        return True

    def close(self, recorder: Recorder, origin: int) -> None:
        """Record what was computed."""
        tracks: dict[str, int] = {}
        for stream, op, start, end, correlation in self._spans:
            if stream not in tracks:
                tracks[stream] = recorder.track(stream, Place.STREAM)
            if isinstance(op, Record | WaitEvent):
                continue
            kind = Kind.MEMCPY if isinstance(op, Copy) else Kind.KERNEL
            name = op.name if isinstance(op, Copy | Kernel) else "kernel"
            recorder.span(tracks[stream], start - origin, end - origin, kind, recorder.name(name), correlation)
