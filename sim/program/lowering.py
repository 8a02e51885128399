"""From a batch's phase to operations, stream by stream."""

from __future__ import annotations

from collections.abc import Sequence

from scenarios.engine import EnginePreset
from scenarios.model import ModelShape, TimerModel
from sim.effects import Part, Phase
from sim.program.durations import Durations
from sim.program.ops import STEP, Graph, Kernel, Op, Record, Replay, Think, WaitEvent
from sim.program.transformer import Transformer, Work
from sim.serving.batch import Batch
from sim.serving.batch import Phase as BatchPhase

FORWARD, SCHEDULE, COPY = "forward", "schedule", "copy"
PAGE = 16  # tokens of a KV cache page, of which the inputs name one by a 4-byte number
INPUTS_A_ROW = 20  # bytes: token, position, slot, length and FutureMap slot, 4 each
INPUTS_A_PROMPT = 12  # bytes: its first row, its last and its FutureMap slot
TOKEN_BYTES = 8  # a sampled token as torch.argmax returns it


def decode_graph(bucket: int) -> tuple[str, int]:
    """The identity of a bucket's executable graph."""
    return "decode", bucket


class TimerLowering:
    """Batches that are plain timers: one kernel that only takes time, and an event."""

    def __init__(self, model: TimerModel, scale: float = 1.0) -> None:
        self._model = model
        self._scale = scale

    def __call__(self, phase: Phase) -> Sequence[tuple[str, Sequence[Op]]]:
        """The kernel of a batch and the record of its event."""
        ns = round((self._model.step + self._model.per_row * phase.batch.rows) * self._scale)
        return [(FORWARD, (Kernel("timer", "sleep", ns), Record(STEP)))]


class TransformerLowering:
    """A step of a serving engine around a transformer's forward pass.

    Serial steps keep to one stream: inputs to the device, forward, sampling, tokens back. Under overlap the inputs go
    to a staging buffer over the schedule stream, a resolve kernel on the forward stream puts them into place and
    replaces symbolic tokens, a store kernel keeps the sampled ones for the next step, and the copy back leaves over
    its own stream if the preset has one. A decode batch with a bucket replays the bucket's graph with its padding
    rows, which attend to one token each; any other batch is launched kernel by kernel. ``free_slots`` leaves the
    resolve and store kernels out, to see what they cost.
    """

    def __init__(
        self, model: ModelShape, engine: EnginePreset, durations: Durations, *, free_slots: bool = False
    ) -> None:
        self._engine = engine
        self._durations = durations
        self._transformer = Transformer(model, durations, engine.grain, engine.row_tile)
        self._free_slots = free_slots
        entering = engine.framework.by_kind.get("stream", 0)
        self._enter_stream = [Think(entering, "enter stream")] if entering else []

    def __call__(self, phase: Phase) -> Sequence[tuple[str, Sequence[Op]]]:
        """The operations of the phase's parts, in the order of their calls."""
        batch, parts = phase.batch, phase.parts
        overlap = "resolve" in parts
        rows = batch.bucket or batch.rows
        pieces: list[tuple[str, list[Op]]] = []
        main: list[Op] = []
        if "prepare" in parts:
            copies = self._inputs(batch)
            if overlap and copies:
                ready = ("inputs", batch.index)
                pieces.append((SCHEDULE, [*self._enter_stream, *copies, Record(ready)]))
                main.append(WaitEvent(ready))
            else:
                main += copies
        if overlap and not self._free_slots:
            main.append(self._move("resolve", 2 * self._input_bytes(batch)))
            if batch.prompts:  # what stands behind the rows is put into place by a copy
                main.append(self._move("store", 2 * INPUTS_A_PROMPT * batch.rows))
        main += self._compute(batch, rows, parts)
        if "store" in parts and not self._free_slots:
            main.append(self._move("store", 2 * rows * TOKEN_BYTES))
        if "copy" in parts:
            back = self._durations.copy("d2h", batch.rows * TOKEN_BYTES)
            if overlap and self._engine.copy_stream == "separate":
                done = ("sampled", batch.index)
                pieces.append((FORWARD, [*main, Record(done)]))
                pieces.append((COPY, [*self._enter_stream, WaitEvent(done), back, Record(STEP)]))
                return pieces
            main += [back, Record(STEP)]
        pieces.append((FORWARD, main))
        return pieces

    def _input_bytes(self, batch: Batch) -> int:
        if batch.prompts:
            return batch.tokens * INPUTS_A_ROW + batch.rows * INPUTS_A_PROMPT
        return (batch.bucket or batch.rows) * INPUTS_A_ROW + 4 * -(-batch.context // PAGE)

    def _inputs(self, batch: Batch) -> list[Op]:
        count = self._engine.input_copies
        return [self._durations.copy("h2d", -(-self._input_bytes(batch) // count)) for _ in range(count)]

    def _move(self, name: str, nbytes: int) -> Kernel:
        return self._durations.kernel(name, name, "gather", nbytes=nbytes)

    def _compute(self, batch: Batch, rows: int, parts: tuple[Part, ...]) -> list[Op]:
        sample = self._transformer.sample(rows) if "sample" in parts else ()
        if "forward" not in parts:
            return list(sample)
        if batch.phase is BatchPhase.PREFILL:
            work = Work(batch.tokens, batch.rows, prompts=batch.prompts)
        else:
            work = Work(rows, rows, rows=rows, context=batch.context + batch.padding)
        forward = self._transformer.forward(work)
        if batch.bucket is None:
            return [*forward, *sample]
        if self._engine.sample_in_graph:
            return [Replay(decode_graph(rows), Graph((*forward, *sample)))]
        return [Replay(decode_graph(rows), Graph(forward)), *sample]
