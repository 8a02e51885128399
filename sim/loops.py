"""The server's loops, side by side. Each differs from the next by what it waits for, and when."""

from __future__ import annotations

from functools import partial

from sim.effects import OVERLAP_PARTS, SERIAL_PARTS, Emit, Loop, Phase, Step, host, launch, receive, wait
from sim.serving.batch import Batch
from sim.serving.server import Server


def naive_loop(server: Server) -> Loop[None]:
    """A plain Python loop: the host waits for the device after every operation."""
    return serial_loop(server, sync_each=True)


def serial_loop(server: Server, *, sync_each: bool = False) -> Loop[None]:
    """Schedule, launch, wait, process: the device idles while the host works, and the host while the device does."""
    while True:
        arrivals = yield from receive(block=server.idle, steady=server)
        server.add(arrivals.requests)
        if arrivals.closed and server.idle:
            return
        batch = yield from host("schedule", server.schedule)
        if batch is None:
            continue
        yield from host("prepare", partial(server.prepare, batch), batch)
        step = yield from launch(Phase(batch, SERIAL_PARTS, sync_each))
        yield from deliver(server, batch, step)


def overlap_loop(server: Server) -> Loop[None]:
    """Launch batch N, then process batch N-1 while N computes: one batch of run-ahead.

    N's inputs are N-1's outputs, which the host has not seen; they go from slot to input on the device.
    """
    previous: tuple[Batch, Step] | None = None
    while True:
        arrivals = yield from receive(block=server.idle, steady=server)
        server.add(arrivals.requests)
        if arrivals.closed and server.idle:
            return
        batch = yield from host("schedule", server.schedule)
        current = None
        if batch is not None:
            yield from host("prepare", partial(server.prepare, batch), batch)
            current = batch, (yield from launch(Phase(batch, OVERLAP_PARTS)))
        if previous is not None:
            yield from deliver(server, *previous)
        previous = current


def deliver(server: Server, batch: Batch, step: Step) -> Loop[None]:
    """Wait for a step's result, process it and hand its tokens to the clients."""
    result = yield from wait(step)
    outputs = yield from host("process", partial(server.process, batch, result), batch)
    yield Emit(outputs)
