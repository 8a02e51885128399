"""From a batch's phase to operations, stream by stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, runtime_checkable

import numpy as np

from scenarios.engine import EnginePreset
from scenarios.model import ModelShape, TimerModel
from sim.effects import Phase
from sim.program.decode_curve import Times
from sim.program.decode_prices import INPUTS_A_ROW, PAGE, DecodePrices, input_bytes
from sim.program.durations import Durations
from sim.program.frame import Frame, Pieces
from sim.program.ops import ENTER_STREAM, INPUTS, STEP, Graph, Kernel, Op, Record, Replay, Think, WaitEvent
from sim.program.tensor_parallel import Links, ParallelTransformer
from sim.program.transformer import Node, Pass, Transformer, Work
from sim.serving.batch import Batch

FORWARD, SCHEDULE, COPY = "forward", "schedule", "copy"
SAMPLED = "sampled"  # an event between these streams: each wait follows the record that it means
INPUTS_A_PROMPT = 12  # bytes: its first row, its last and its FutureMap slot
ATTENTION = (
    "attention",
    "combine",
    "gather",
    "attention_prefill",
)  # calls that stay out of graphs that are captured in pieces
TOKEN_BYTES = 8  # a sampled token as torch.argmax returns it

Lowering = Callable[[Phase], Pieces]
"""Turns the phase of a batch into operations."""


class Prices(Protocol):
    """Durations of a decode step's operations by the tokens that its rows attend to; those at ``changing`` follow."""

    @property
    def frame(self) -> Frame:
        """What they fill."""

    @property
    def rest(self) -> Sequence[int]:
        """At the positions of the others, what they take over any context."""

    @property
    def changing(self) -> Sequence[int]:
        """Positions of those that follow the context."""

    def changes(self, context: int) -> Sequence[int]:
        """What these take over a context."""

    def at(self, context: int) -> Sequence[int]:
        """What all take over a context."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """The same over all contexts."""

    frame: Frame
    rest: Sequence[int]
    changing: Sequence[int] = ()

    def changes(self, context: int) -> Sequence[int]:
        del context
        return ()

    def at(self, context: int) -> Sequence[int]:
        del context
        return self.rest


@runtime_checkable
class Framing(Protocol):
    """A lowering that knows which steps have the same frame."""

    def framed(self, phase: Phase) -> tuple[Frame, Sequence[int]]:
        """A phase's frame and the durations (ns) of the operations that fill it."""

    def prices(self, phase: Phase) -> Prices:
        """The durations of a decode phase's operations by the tokens that its rows attend to."""

    def over(self, phase: Phase, contexts: Times) -> Times:
        """The durations of a decode phase's operations over each of these contexts, in columns."""


def no_lowering(phase: Phase) -> Pieces:
    """A machine for programs has no model to lower a batch with."""
    raise ValueError(f"batch {phase.batch.index} needs a model to be lowered, and this machine has none")


def decode_graph(bucket: int) -> tuple[str, int]:
    """The identity of a bucket's executable graph."""
    return "decode", bucket


def piece_graph(tokens: int, number: int) -> tuple[str, int, int]:
    """The identity of one of the executable graphs of a prompt step, which lie between its attention kernels."""
    return "piece", tokens, number


class TimerLowering:
    """Batches that are plain timers: one kernel that only takes time, and an event."""

    def __init__(self, model: TimerModel, scale: float = 1.0) -> None:
        self._model = model
        self._scale = scale
        kernel = Kernel("timer", "sleep", 0)
        self._frames = {
            (forward, copy): Frame.of([(FORWARD, [*main, *([Record(STEP)] if copy else [])])], main)
            for forward, main in ((True, [kernel]), (False, []))
            for copy in (True, False)
        }

    def __call__(self, phase: Phase) -> Pieces:
        """The kernel of a batch and the record of its event."""
        frame, times = self.framed(phase)
        return frame.filled([Kernel("timer", "sleep", ns) for ns in times])

    def framed(self, phase: Phase) -> tuple[Frame, Sequence[int]]:
        """The kernel of a batch, which is its forward pass, and the record of its event, which is its copy back."""
        forward = "forward" in phase.parts
        ns = round((self._model.step + self._model.per_row * phase.batch.rows) * self._scale)
        return self._frames[forward, "copy" in phase.parts], [ns] if forward else []

    def prices(self, phase: Phase) -> Prices:
        """A timer takes as long over any context."""
        return _Timed(*self.framed(phase))

    def over(self, phase: Phase, contexts: Times) -> Times:
        """A timer takes as long over all contexts."""
        _, times = self.framed(phase)
        return np.repeat(np.array(times, dtype=np.int64)[:, np.newaxis], len(contexts), axis=1)


@dataclass(frozen=True, slots=True)
class _Sized:
    """The operations of a step whose times follow the batch's sizes; empty where the phase lacks the part."""

    inputs: tuple[Op, ...]
    resolve: tuple[Kernel, ...]
    forward: Pass | None
    sample: tuple[Kernel, ...]
    store: tuple[Kernel, ...]
    back: tuple[Op, ...]

    @property
    def ops(self) -> tuple[Op, ...]:
        """Each of them once."""
        forward = () if self.forward is None else self.forward.distinct
        return (*self.inputs, *self.resolve, *forward, *self.sample, *self.store, *self.back)


class TransformerLowering:
    """A step of a serving engine around a transformer's forward pass.

    Serial steps keep to one stream: inputs to the device, forward, sampling, tokens back. Under overlap the inputs go
    to a staging buffer over the schedule stream (or the forward stream, if the preset says so), a resolve kernel on the
    forward stream puts them into place and replaces symbolic tokens, a store kernel keeps the sampled ones for the next
    step, and the copy back leaves over its own stream if the preset has one. A phase of some parts goes to the same
    streams; a lone ``prepare`` is that of a thread whose only stream is the schedule stream. A decode batch with a
    bucket replays the bucket's graph with its padding rows, which attend to one token each; a batch with
    ``pieces`` replays a graph between each attention and the next, whose rows are padded to that many tokens, and
    launches attention by itself; any other batch is launched kernel by kernel. ``free_slots`` leaves the resolve and
    store kernels out, to see what they cost. With ``links`` the model is spread over ranks, and these are the
    operations of each.
    """

    def __init__(
        self,
        model: ModelShape,
        engine: EnginePreset,
        durations: Durations,
        *,
        free_slots: bool = False,
        links: Links | None = None,
    ) -> None:
        self._engine = engine
        self._durations = durations
        self._transformer = (
            Transformer(model, durations, engine.grain, engine.row_tile)
            if links is None
            else ParallelTransformer(model, links, durations, engine.grain, engine.row_tile)
        )
        self._free_slots = free_slots
        entering = engine.framework.by_kind.get("stream", 0)
        self._frames: dict[object, Frame] = {}
        self._decodes: dict[object, DecodePrices] = {}
        self._prompts: dict[object, tuple[Frame, list[int]]] = {}
        self._moved: dict[tuple[int, int], dict[int, list[int]]] = {}
        self._by_rows: dict[object, tuple[tuple[Kernel, ...], tuple[Kernel, ...], tuple[Op, ...]]] = {}
        self._enter_stream = [Think(entering, ENTER_STREAM)] if entering else []

    def __call__(self, phase: Phase) -> Pieces:
        """The operations of the phase's parts, in the order of their calls."""
        return self._arranged(phase, self._sized(phase))

    def framed(self, phase: Phase) -> tuple[Frame, list[int]]:
        """The same as a frame, which is one object for all steps that it is common to, and what they take."""
        batch = phase.batch
        if batch.prompts:
            if len(batch.prompts) > 1 or batch.decode_rows or batch.prompts[0].start:
                return self._framed(phase, self._sized(phase))
            key = phase.parts, batch.pieces, batch.tokens
            known = self._prompts.get(key)
            if known is None:
                known = self._prompts[key] = self._framed(phase, self._sized(phase))
            return known
        prices = self._decoded(phase)
        return prices.frame, prices.at(batch.decode_context)

    def prices(self, phase: Phase) -> Prices:
        """What the operations of a decode phase take by the tokens that its rows attend to."""
        return self._decoded(phase)

    def over(self, phase: Phase, contexts: Times) -> Times:
        """The same for many contexts, in columns."""
        return self._decoded(phase).over(contexts)

    def _framed(self, phase: Phase, sized: _Sized) -> tuple[Frame, list[int]]:
        ops = sized.ops
        batch = phase.batch
        key = phase.parts, batch.bucket, batch.pieces, len(batch.prompts), bool(batch.decode_rows), len(ops)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = Frame.of(self._arranged(phase, sized), ops)
        return frame, [op.ns for op in ops]  # type: ignore[union-attr]

    def _decoded(self, phase: Phase) -> DecodePrices:
        """The prices of a decode phase."""
        batch = phase.batch
        key = phase.parts, batch.bucket, batch.rows
        prices = self._decodes.get(key)
        if prices is None:
            sized, rows = self._sized(phase), batch.bucket or batch.rows
            frame, times = self._framed(phase, sized)
            names = [op.name if isinstance(op, Kernel) else "" for op in sized.ops]
            copies, moves = len(sized.inputs), len(sized.resolve)
            prices = self._decodes[key] = DecodePrices(
                frame, times, self._durations, rows=rows, copies=copies, moves=moves,
                moved=self._moved.setdefault((copies, moves), {}),
                curve=self._transformer.decode_curve(rows, batch.padding),
                attention=names.index("decode_attention") if "decode_attention" in names else None,
            )  # fmt: skip
        return prices

    @staticmethod
    def _input_bytes(batch: Batch) -> int:
        if batch.prompts:
            return _prompt_bytes(batch)
        return input_bytes(batch.bucket or batch.rows, -(-batch.decode_context // PAGE))

    def _sized(self, phase: Phase) -> _Sized:
        """What depends on the batch's sizes."""
        batch, parts = phase.batch, phase.parts
        rows = batch.bucket or batch.rows
        slots = not self._free_slots
        nbytes = self._input_bytes(batch)
        if batch.prompts:
            prompts = tuple((chunk.start, chunk.tokens) for chunk in batch.prompts)
            tokens = batch.pieces or batch.tokens
            work = Work(tokens, batch.rows, batch.decode_rows, batch.decode_context, prompts)
        else:
            work = Work(rows, rows, rows=rows, context=batch.decode_context, padding=batch.padding)
        by_rows = self._by_rows.get((parts, rows, batch.rows))
        if by_rows is None:
            by_rows = self._by_rows[parts, rows, batch.rows] = (
                self._transformer.sample(rows) if "sample" in parts else (),
                (self._move("store", 2 * rows * TOKEN_BYTES),) if "store" in parts and slots else (),
                (self._durations.copy("d2h", batch.rows * TOKEN_BYTES),) if "copy" in parts else (),
            )
        return _Sized(
            self._inputs(nbytes) if "prepare" in parts else (),
            self._resolve(batch, nbytes) if "resolve" in parts and slots else (),
            self._transformer.forward(work) if "forward" in parts else None,
            *by_rows,
        )

    def _resolve(self, batch: Batch, nbytes: int) -> tuple[Kernel, ...]:
        """Put inputs into place; what stands behind the rows of prompts is copied."""
        resolve = self._move("resolve", 2 * nbytes)
        return (
            (resolve, self._move("store", 2 * (nbytes - batch.tokens * INPUTS_A_ROW))) if batch.prompts else (resolve,)
        )

    def _arranged(self, phase: Phase, sized: _Sized) -> Pieces:
        """Put the operations of a step onto their streams and in order."""
        overlap = "resolve" in phase.parts or "store" in phase.parts
        pieces: list[tuple[str, Sequence[Op]]] = []
        main: list[Op] = []
        if phase.parts == ("prepare",):  # the thread that launches the rest has a stream of its own
            return [(SCHEDULE, [*sized.inputs, Record(INPUTS)])]
        if overlap and sized.inputs and self._engine.overlap.input_stream == "schedule":
            pieces.append((SCHEDULE, [*self._enter_stream, *sized.inputs, Record(INPUTS)]))
            main.append(WaitEvent(INPUTS))
        elif sized.inputs:
            main += [*sized.inputs, *([Record(INPUTS)] if overlap else [])]
        main += [*sized.resolve, *self._computed(phase.batch, sized), *sized.store]
        if sized.back and overlap and self._engine.copy_stream == "separate":
            pieces.append((FORWARD, [*main, Record(SAMPLED)]))
            pieces.append((COPY, [*self._enter_stream, WaitEvent(SAMPLED), *sized.back, Record(STEP)]))
            return pieces
        if sized.back:
            main += [*sized.back, Record(STEP)]
        pieces.append((FORWARD, main))
        return pieces

    def _computed(self, batch: Batch, sized: _Sized) -> Sequence[Op]:
        """Forward pass and sampling, launched one by one or as a graph."""
        if sized.forward is None:
            return sized.sample
        forward = sized.forward.kernels
        if batch.pieces is not None:
            return (*_pieces(forward, batch.pieces), *sized.sample)
        if batch.bucket is None:
            return (*forward, *sized.sample)
        executable = decode_graph(batch.bucket)
        if self._engine.sample_in_graph:
            return (Replay(executable, Graph((*forward, *sized.sample))),)
        return (Replay(executable, Graph(forward)), *sized.sample)

    def _inputs(self, nbytes: int) -> tuple[Op, ...]:
        count = self._engine.input_copies
        return tuple(self._durations.copy("h2d", -(-nbytes // count)) for _ in range(count))

    def _move(self, name: str, nbytes: int) -> Kernel:
        return self._durations.kernel(name, name, "gather", nbytes=nbytes)


def _pieces(kernels: Sequence[Node], tokens: int) -> Iterator[Op]:
    """The kernels of a forward pass as graphs between its attention kernels, which are launched by themselves."""
    number = 0
    for attention, group in groupby(kernels, lambda node: isinstance(node, Kernel) and node.call in ATTENTION):
        if attention:
            yield from group
        else:
            yield Replay(piece_graph(tokens, number), Graph(tuple(group)))
            number += 1


def _prompt_bytes(batch: Batch) -> int:
    """Bytes of the inputs of a step that computes prompts.

    A row a new token, three numbers a prompt; of decode rows beside them the cache blocks and two numbers, and where a
    prompt attends to more than itself the cache slots of all that the prompts attend to.
    """
    decode = input_bytes(batch.decode_rows, -(-batch.decode_context // PAGE))
    keys = sum(chunk.stop for chunk in batch.prompts) if any(chunk.start for chunk in batch.prompts) else 0
    rows = batch.tokens * INPUTS_A_ROW + len(batch.prompts) * INPUTS_A_PROMPT + 4 * keys
    return rows + (decode + 8 * batch.decode_rows if batch.decode_rows else 0)
