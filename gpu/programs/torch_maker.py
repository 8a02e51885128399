"""A program's ops on torch: tensors made and calls bound before anything runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch

from gpu.calibration import clock
from gpu.machines.wall import pause
from gpu.memory import require
from gpu.programs.bound import BoundCopy, BoundEnter, BoundKernel, BoundRecord, BoundReplay, BoundWait, Run, nothing
from gpu.programs.capture import capture
from scenarios import ops as recipe
from scenarios.errors import Problem, ScenarioError
from scenarios.program import Program
from sim.program.ops import ENTER_STREAM, Graph, Op
from sim.program.priced import direction, kernel_name

ONE_MULTIPROCESSOR = recipe.Sleep.model_fields["sm"].default


class TorchMaker:
    """Makes each op once: what is repeated works on the same tensors.

    Products are bf16, additions float32. On a GPU a sleep is a kernel that spins for so many of its cycles; on a CPU,
    which computes as it is called, it keeps the caller. Raises ``ScenarioError`` for what does not fit into the memory
    that is free, before any of it is taken, and for ops that CUDA has no form of.
    """

    def __init__(self, program: Program, source: str, on: str) -> None:
        self._cuda = on == "cuda"
        self._on = torch.device(on)
        self._made: dict[recipe.Op, Op] = {}
        self.streams: dict[str, Any] = {}
        self.events: dict[Hashable, Any] = {}
        ops = [op for thread in program.threads for _, op in recipe.walk(thread.ops)]
        require(source, "threads", {"tensors": sum(map(_bytes, set(ops)))}, on)
        if self._cuda:
            self._sleeping = _sleeping(ops, source)
            self._timed = {op.event for op in ops if isinstance(op, recipe.Record) and op.timed}
            for op in ops:
                if isinstance(op, recipe.Sleep) and op.sm != ONE_MULTIPROCESSOR:
                    message = f"found {op.sm:g}, expected none: on cuda a sleep keeps to one multiprocessor"
                    raise ScenarioError([Problem(source, "sm", message)])

    def operation(self, op: recipe.Op) -> Op:
        """The op with its tensors and its call."""
        made = self._made.get(op)
        if made is None:
            made = self._made[op] = self._make(op)
        return made

    def replay(self, name: str, body: Sequence[tuple[str, Op]], graph: Graph) -> BoundReplay:
        """A graph captured from the body; on a CPU, which has none, the body itself."""
        run: Run = nothing
        if self._cuda:
            run = capture(name, body).replay
        return BoundReplay(name, graph, run, tuple(op for _, op in body))

    def enter(self, stream: str) -> BoundEnter | None:
        """Make a stream the calling thread's own; a CPU has none."""
        if not self._cuda:
            return None
        return BoundEnter(0, ENTER_STREAM, partial(torch.cuda.set_stream, self.stream(stream)))

    def stream(self, name: str) -> Any:
        """The stream of this name, made on first use."""
        if name not in self.streams:
            self.streams[name] = new_stream()
        return self.streams[name]

    def event(self, name: str) -> Any:
        """The event of this name, made on first use."""
        if name not in self.events:
            self.events[name] = new_event(enable_timing=name in self._timed, blocking=name in self._sleeping)
        return self.events[name]

    def _make(self, op: recipe.Op) -> Op:
        match op:
            case recipe.Matmul():
                a, b, out = (self._tensor(*shape) for shape in ((op.m, op.k), (op.k, op.n), (op.m, op.n)))
                return self._kernel(op, "gemm", partial(torch.mm, a, b, out=out))
            case recipe.Add():
                x, y, out = (self._tensor(op.elements, dtype=torch.float32) for _ in range(3))
                return self._kernel(op, "elementwise", partial(torch.add, x, y, out=out))
            case recipe.Sleep():
                return self._kernel(op, "sleep", (sleep_on_gpu if self._cuda else sleep_here)(op.duration))
            case recipe.Copy(direction="d2d"):
                source, target = self._buffer(op.bytes), self._buffer(op.bytes)
                return BoundKernel("Memcpy DtoD", "copy", 0, bytes=2 * op.bytes, run=partial(target.copy_, source))
            case recipe.Copy():
                host = torch.zeros(op.bytes, dtype=torch.uint8, pin_memory=self._cuda and op.pinned)
                device = self._buffer(op.bytes)
                source, target = (host, device) if op.direction == "h2d" else (device, host)
                copy = partial(target.copy_, source, non_blocking=op.pinned)
                return BoundCopy(direction(op), 0, op.bytes, op.pinned, copy)
            case recipe.Record():
                if not self._cuda:
                    return BoundRecord(op.event, op.timed)
                return BoundRecord(op.event, op.timed, partial(self.event(op.event).record, self.stream(op.stream)))
            case recipe.WaitEvent():
                if not self._cuda:
                    return BoundWait(op.event)
                return BoundWait(op.event, partial(self.stream(op.stream).wait_event, self.event(op.event)))
            case _:
                raise TypeError(f"{op!r} is no operation of a stream")

    def _kernel(self, op: recipe.Matmul | recipe.Add | recipe.Sleep, call: str, run: Run) -> BoundKernel:
        return BoundKernel(kernel_name(op), call, 0, run=run)

    def _tensor(self, *shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.randn(*shape, dtype=dtype, device=self._on)  # clocks depend on what is multiplied

    def _buffer(self, nbytes: int) -> torch.Tensor:
        return torch.zeros(nbytes, dtype=torch.uint8, device=self._on)


# torch leaves these two constructors untyped
new_stream: Callable[[], Any] = torch.cuda.Stream
new_event: Callable[..., Any] = torch.cuda.Event


def sleep_on_gpu(ns: int) -> Run:
    """A call that enqueues a kernel of this length, in cycles whose rate is measured once a process."""
    return partial(clock.sleep, clock.cycles(ns / 1000))


def sleep_here(ns: int) -> Run:
    """A call that takes so long."""
    return lambda: pause(time.perf_counter_ns() + ns)


def _bytes(op: recipe.Op) -> int:
    """Memory of an op's tensors on the device."""
    match op:
        case recipe.Matmul():
            return 2 * (op.m * op.k + op.k * op.n + op.m * op.n)
        case recipe.Add():
            return 3 * 4 * op.elements
        case recipe.Copy():
            return (2 if op.direction == "d2d" else 1) * op.bytes
        case _:
            return 0


def _sleeping(ops: Sequence[recipe.Op], source: str) -> set[str]:
    """Events that host threads wait for asleep: in CUDA that is a property of the event."""
    hows: dict[str, set[str]] = {}
    for op in ops:
        if isinstance(op, recipe.Sync) and op.on != "device":
            hows.setdefault(op.on, set()).add(op.how)
    for event, found in hows.items():
        if len(found) > 1:
            message = f"event {event!r} is waited for by spinning and by sleeping, on cuda it can be one of them"
            raise ScenarioError([Problem(source, "how", message)])
    return {event for event, found in hows.items() if found == {"blocking"}}
