"""The server's loops, side by side. Each differs from the next by what it waits for, and when."""

from __future__ import annotations

from functools import partial

from sim.effects import (
    OVERLAP_PARTS,
    SERIAL_PARTS,
    Emit,
    Get,
    Loop,
    Part,
    Phase,
    Put,
    Step,
    get,
    host,
    launch,
    receive,
    wait,
)
from sim.program.ops import INPUTS
from sim.serving.batch import Batch, StepResult
from sim.serving.batch import Phase as BatchPhase
from sim.serving.server import Server

AHEAD: tuple[Part, ...] = OVERLAP_PARTS[: OVERLAP_PARTS.index("sample")]
SAMPLING: tuple[Part, ...] = OVERLAP_PARTS[len(AHEAD) :]
"""An overlap step in two launches: up to the logits, and from the sampling on."""
AGAIN: tuple[Part, ...] = OVERLAP_PARTS[1:]
"""A step whose inputs the device makes from those of the step before."""

BATCHES, LAUNCHED, STEPS, MASKS, RESULTS = "batches", "launched", "steps", "masks", "results"  # queues between threads


def naive_loop(server: Server, *, masks: bool = False) -> Loop[None]:
    """A plain Python loop: the host waits for the device after every operation."""
    return serial_loop(server, sync_each=True, masks=masks)


def serial_loop(server: Server, *, sync_each: bool = False, masks: bool = False) -> Loop[None]:
    """Schedule, launch, wait, process: the device idles while the host works, and the host while the device does.

    With ``masks`` the host computes what each row may sample while the forward pass runs.
    """
    while not (yield from begin(server)):
        batch = yield from build(server)
        if batch is None:
            continue
        if masks:
            yield from launch(Phase(batch, ("prepare", "forward"), sync_each))
            yield from mask(batch)
            step = yield from launch(Phase(batch, ("sample", "copy"), sync_each))
        else:
            step = yield from launch(Phase(batch, SERIAL_PARTS, sync_each))
        yield from deliver(server, batch, step)


def overlap_loop(server: Server) -> Loop[None]:
    """Launch batch N, then process batch N-1 while N computes: one batch of run-ahead.

    N's inputs are N-1's outputs, which the host has not seen; they go from slot to input on the device.
    """
    previous: tuple[Batch, Step] | None = None
    while not (yield from begin(server)):
        batch = yield from build(server)
        current = None
        if batch is not None:
            current = batch, (yield from launch(Phase(batch, OVERLAP_PARTS)))
        if previous is not None:
            yield from deliver(server, *previous)
        previous = current


def graphs_or_overlap_loop(server: Server) -> Loop[None]:
    """The chapter's rule, either graphs or overlap: a batch that replays a graph is waited for, another runs ahead.

    As in the chapter's loop, an iteration that finds nothing to schedule still goes round to process what is left.
    """
    previous: tuple[Batch, Step] | None = None
    while not (yield from begin(server)):
        batch = yield from build(server)
        current = None
        if batch is not None:
            current = batch, (yield from launch(Phase(batch, OVERLAP_PARTS)))
        if previous is not None:
            yield from deliver(server, *previous)
        if current is not None and current[0].bucket is not None:
            yield from deliver(server, *current)
            current = None
        previous = current


def late_sampling_loop(server: Server, *, masks: bool = False) -> Loop[None]:
    """Launch the forward pass of batch N, process batch N-1, and only then launch N's sampling.

    What a forward pass does not cover of that processing, and of the ``masks`` that depend on N-1's tokens, the device
    waits for between logits and sampling.
    """
    previous: tuple[Batch, Step] | None = None
    while not (yield from begin(server)):
        batch = yield from build(server)
        outputs = None
        if batch is not None:
            yield from launch(Phase(batch, AHEAD))
        if previous is not None:
            outputs = yield from digest(server, previous[0], (yield from wait(previous[1])))
        previous = None
        if batch is not None:
            if masks:
                yield from mask(batch)
            previous = batch, (yield from launch(Phase(batch, SAMPLING)))
        if outputs is not None:
            yield outputs


def multi_step_loop(server: Server, *, steps: int, late_outputs: bool) -> Loop[None]:
    """Schedule once and launch up to ``steps`` decode steps, each from the tokens of the one before, on the device.

    Then wait for all of them, process them and emit their outputs together; with ``late_outputs`` only after the next
    round has been launched. Requests join between rounds; a prefill is a round of one step.
    """
    running: list[tuple[Batch, Step]] = []
    while not (yield from begin(server)):
        launched: list[tuple[Batch, Step]] = []
        batch = yield from build(server)
        while batch is not None:
            launched.append((batch, (yield from launch(Phase(batch, AGAIN if launched else OVERLAP_PARTS)))))
            more = batch.phase is BatchPhase.DECODE and len(launched) < steps
            batch = server.again() if more else None
        ending, running = (running, launched) if late_outputs else (launched, [])
        results = []
        for batch, step in ending:
            results += [(batch, (yield from wait(step)))]
        outputs = []
        for ended in results:
            outputs += [(yield from digest(server, *ended))]
        yield from outputs


def forward_thread_loops(server: Server, *, masks: bool = False) -> dict[str, Loop[None]]:
    """Overlap with two host threads under one interpreter lock: one schedules and processes, one launches."""
    return {"scheduler": _scheduling_loop(server, masks=masks), "forward": _launching_loop(masks=masks)}


def _scheduling_loop(server: Server, *, masks: bool) -> Loop[None]:
    """Hand over a batch once its inputs are on the device; process the one before once this one's forward is launched.

    So does SGLang 0.4: it waits for the copy of batch N-1, and then for the launch of batch N.
    """
    previous: Batch | None = None
    while not (yield from begin(server)):
        batch = yield from build(server)
        if batch is not None:
            yield from launch(Phase(batch, ("prepare",)))
            yield from wait(INPUTS)
            yield Put(BATCHES, batch)
        if previous is not None:
            step: Step = yield from get(STEPS)
            result = yield from wait(step)
            while batch is not None and (yield from get(LAUNCHED)) != batch.index:
                pass  # of the first batch after a pause, whose launch nobody has waited for
            yield (yield from digest(server, previous, result))
        if masks and batch is not None:
            yield from mask(batch)
            yield Put(MASKS, batch.index)
        previous = batch
    yield Put(BATCHES, None)


def _launching_loop(*, masks: bool) -> Loop[None]:
    while True:
        batch: Batch | None = yield Get(BATCHES)
        if batch is None:
            return
        yield from launch(Phase(batch, ("resolve", "forward")))
        yield Put(LAUNCHED, batch.index)
        if masks:
            yield Get(MASKS)
        yield Put(STEPS, (yield from launch(Phase(batch, SAMPLING))))


def output_thread_loops(server: Server, *, wait_for_inputs: bool = False) -> dict[str, Loop[None]]:
    """Overlap whose results a second host thread waits for: it takes the lock to hand them to the engine's thread.

    With ``wait_for_inputs`` there is one buffer for inputs, which the host overwrites after the last copy out of it.
    """
    return {"scheduler": _engine_loop(server, wait_for_inputs=wait_for_inputs), "output": _output_loop()}


def _engine_loop(server: Server, *, wait_for_inputs: bool) -> Loop[None]:
    previous: Batch | None = None
    while not (yield from begin(server)):
        batch = yield from build(server, wait_for_inputs=wait_for_inputs)
        if batch is not None:
            yield Put(STEPS, (yield from launch(Phase(batch, OVERLAP_PARTS))))
        if previous is not None:
            yield (yield from digest(server, previous, (yield from get(RESULTS))))
        previous = batch
    yield Put(STEPS, None)


def _output_loop() -> Loop[None]:
    while True:
        step: Step | None = yield Get(STEPS)
        if step is None:
            return
        yield Put(RESULTS, (yield from wait(step)))


def begin(server: Server) -> Loop[bool]:
    """Receive what has arrived, idle while there is nothing to do; whether everything has been served."""
    arrivals = yield from receive(block=server.idle, steady=server)
    server.add(arrivals.requests)
    return arrivals.closed and server.idle


def build(server: Server, *, wait_for_inputs: bool = False) -> Loop[Batch | None]:
    """Schedule the next batch, if there is one before a result comes back, and prepare its inputs."""
    batch = yield from host("schedule", server.schedule)
    if batch is not None:
        if wait_for_inputs:
            yield from wait(INPUTS)
        yield from host("prepare", partial(server.prepare, batch), batch)
    return batch


def mask(batch: Batch) -> Loop[None]:
    """Work on the host between the forward pass and the sampling, such as the masks of a grammar."""
    yield from host("mask", lambda: None, batch)


def digest(server: Server, batch: Batch, result: StepResult) -> Loop[Emit]:
    """Process a result; what is to be emitted."""
    return Emit((yield from host("process", partial(server.process, batch, result), batch)))


def deliver(server: Server, batch: Batch, step: Step) -> Loop[None]:
    """Wait for a step's result, process it and hand its tokens to the clients."""
    yield (yield from digest(server, batch, (yield from wait(step))))
