"""A device of a wall-clock machine: torch on a CPU or a CUDA GPU."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import get_ident

import torch

from gpu.engine.forwards import Forwards, wide_start
from gpu.engine.graphs import DecodeGraphs
from gpu.engine.inputs import Inputs
from gpu.engine.streams import Streams
from gpu.engine.turn import Turn
from gpu.model.llama import Calls
from gpu.model.meta import FUTURE, TABLE
from gpu.model.ops import Call, Prompts
from sim.effects import DEVICE, How, Part, Phase, Step
from sim.program.ops import INPUTS, Op
from sim.serving.batch import Batch
from sim.timeline.spans import Recorder

MOST_PREFILLS = 64
"""Prefill steps, by size and turn, whose launches are kept in order; decode steps of all sizes are."""
Wrap = Callable[[str, Call], Call]


@dataclass(frozen=True, slots=True)
class Launches:
    """All launches of a step in order; the forward pass, with what puts inputs into place, is ``first`` to ``cut``."""

    calls: list[Call]
    first: int
    cut: int

    @classmethod
    def of(cls, calls: Calls, wrap: Wrap) -> Launches:
        """Wrap the launches of a step whose sampling begins with its argmax."""
        kinds = [kind for kind, _ in calls]
        first = kinds.index("resolve") if "resolve" in kinds else kinds.index("memcpy") + 1
        return cls([wrap(kind, call) for kind, call in calls], first, kinds.index("argmax"))

    def of_parts(self, parts: Sequence[Part], *, streams: bool) -> list[Call]:
        """The launches of some parts that follow one another."""
        start = 0 if "prepare" in parts else self.first if "forward" in parts else self.cut
        if "sample" in parts:
            return self.calls[start:] if start else self.calls
        if "forward" in parts:
            return self.calls[start : self.cut]
        # the forward stream is another thread's, and the host waits for the inputs
        return self.calls[: self.first - 2 if streams else self.first]


@dataclass(frozen=True, slots=True)
class Begun:
    """A step of which parts are launched: its buffers, its launches, and the lists of its prompts."""

    turn: Turn
    launches: Launches
    prompts: Prompts | None


class TorchDevice:
    """Runs phases of a Llama. ``graphs`` None runs every batch eager; without ``streams`` (a CPU) work is done at once.

    A serial step keeps to the forward stream. Under overlap its rows go to a staging table over the schedule stream,
    the resolve kernel puts them in place on the forward stream, a store kernel keeps sampled tokens in the FutureMap's
    buffer, and the copy stream takes them to a pinned buffer. All launches of a step are bound to their buffers once a
    size; ``wrap`` may replace each by another that does the same, by kind ("fetch" reads the tokens that came back).
    A step may come in several phases, the first of which prepares it: its inputs are filled then, by the thread that
    schedules, and another thread may launch the rest.
    """

    def __init__(
        self,
        forwards: Forwards,
        inputs: Inputs,
        *,
        sampled: int,
        slots: int,
        streams: Streams | None,
        graphs: DecodeGraphs | None,
        wrap: Wrap = lambda _, call: call,
    ) -> None:
        self._forwards = forwards
        self._model = forwards.model
        self._placed = forwards.placed
        self._inputs = inputs
        self._graphs = graphs
        self._streams = streams
        self._wrap = wrap
        on = self._placed.device
        self._future = torch.zeros(slots, dtype=torch.int64, device=on)
        self._turns = [Turn(len(self._placed), sampled, on) for _ in range(2)]
        self._next = 0
        self._decodes: dict[tuple[int, int, int, bool, bool], Launches] = {}
        self._prefills: dict[tuple[int, int, int, int, int, bool], Launches] = {}
        self._begun: dict[int, Begun] = {}
        self._last = self._turns[0]
        self._threads = {get_ident()}
        self._flying: dict[Step, tuple[Turn, Batch]] = {}
        self._arrived: tuple[Turn, Batch]
        self._fetch = wrap("fetch", self._take)
        if streams is not None:
            self._before = torch.cuda.current_stream()
            torch.cuda.set_stream(streams.forward)
            torch.cuda.synchronize()  # what was made on another stream is there before these streams use it

    def launch(self, work: Phase | Sequence[Op], stream: str, step: Step) -> None:
        """Enqueue a phase."""
        del stream
        if not isinstance(work, Phase):
            raise TypeError("a model's device runs phases, not single operations")
        batch, parts = work.batch, work.parts
        if "prepare" in parts:
            begun = self._begin(batch, overlap="resolve" in parts or parts == ("prepare",))
        else:
            begun = self._begun.pop(batch.index)
            self._enter_forward()
        if "forward" in parts and begun.prompts is not None:
            self._forwards.prompts = begun.prompts
        for call in begun.launches.of_parts(parts, streams=self._streams is not None):
            call()
            if work.sync_each and self._streams is not None:
                torch.cuda.synchronize()
        if "sample" in parts:
            self._flying[step] = begun.turn, batch
        else:
            self._begun[batch.index] = begun

    def synchronize(self, on: Step | Hashable, how: How) -> tuple[int, ...] | None:
        """Wait for a step and take its tokens to the inputs of later ones, or for the whole device."""
        del how
        if not isinstance(on, Step):
            if on == INPUTS:
                self._last.inputs_ready.synchronize()
            elif on != DEVICE:
                raise TypeError(f"a model's device waits for steps and their inputs, not for {on!r}")
            elif self._streams is not None:
                torch.cuda.synchronize()
            return None
        self._arrived = self._flying.pop(on)
        self._arrived[0].done.synchronize()
        self._fetch()
        return None

    def _take(self) -> None:
        """Take the tokens of the step that has arrived."""
        turn, batch = self._arrived
        self._inputs.learn(batch, turn.back[: batch.rows].tolist())

    def ready(self, on: Step | Hashable) -> bool:
        """Whether a step's tokens have arrived."""
        assert isinstance(on, Step)
        return bool(self._flying[on][0].done.query())

    def close(self, recorder: Recorder, origin: int) -> None:
        """Wait for the device. A timed run has no device spans: recording them would take the time it measures."""
        del recorder, origin
        if self._streams is not None:
            torch.cuda.synchronize()
            torch.cuda.set_stream(self._before)

    def _begin(self, batch: Batch, *, overlap: bool) -> Begun:
        """Fill the inputs of a step. Another thread may be launching the one before, whose prompts stay in force."""
        self._last = turn = self._turns[self._next]
        if batch.prompts:
            begun = Begun(turn, *self._prefill(batch, turn, overlap))
        else:
            begun = Begun(turn, self._decode(batch, turn, overlap), None)
        self._next ^= 1
        return begun

    def _enter_forward(self) -> None:
        """Have a thread's launches go to the forward stream from its first one on."""
        if get_ident() not in self._threads:
            self._threads.add(get_ident())
            if self._streams is not None:
                torch.cuda.set_stream(self._streams.forward)

    def _decode(self, batch: Batch, turn: Turn, overlap: bool) -> Launches:
        """Fill the rows of a decode step; its launches."""
        rows = batch.bucket or batch.rows
        numbers = rows * self._inputs.width
        self._inputs.decode(batch, turn.filled[:numbers].reshape(rows, -1))
        replay = batch.bucket is not None and self._graphs is not None
        key = self._next, rows, batch.rows, replay, overlap
        if key not in self._decodes:
            placed = self._placed[:numbers].view(rows, -1)
            forward = self._forward(rows, replay)
            slots = placed[:, FUTURE]
            calls = self._step(turn, forward, rows, batch.rows, (rows, self._inputs.width), numbers, slots, overlap)
            self._decodes[key] = Launches.of(calls, self._wrap)
        return self._decodes[key]

    def _prefill(self, batch: Batch, turn: Turn, overlap: bool) -> tuple[Launches, Prompts]:
        """Fill the rows of a step that computes prompts; its launches, and the lists that they read."""
        tokens, decode, count, width = batch.tokens, batch.decode_rows, len(batch.prompts), self._inputs.width
        end = tokens * TABLE
        lists = wide_start(tokens) + decode * width if decode else end
        reads = tuple(chunk.stop for chunk in batch.prompts) if any(chunk.start for chunk in batch.prompts) else ()
        parts = [count + 1, batch.rows, batch.rows, *((count + 1, sum(reads)) if reads else ())]
        numbers = lists + sum(parts)
        filled = turn.filled
        wide = filled[lists - decode * width : lists].reshape(decode, width)
        self._inputs.prompts(batch, filled[:end].reshape(tokens, TABLE), wide, filled[lists:numbers])
        starts, ends, slots, *read = self._placed[lists:numbers].split(parts)
        prompts = Prompts(tuple(chunk.tokens for chunk in batch.prompts), starts, ends, reads, *read)
        key = self._next, tokens, decode, count, sum(reads), overlap
        if key not in self._prefills:
            if len(self._prefills) >= MOST_PREFILLS:
                self._prefills.pop(next(iter(self._prefills)))
            forward = self._forwards.prefill(tokens, decode, cached=bool(reads))
            calls = self._step(turn, forward, batch.rows, batch.rows, (tokens, TABLE), numbers, slots, overlap)
            self._prefills[key] = Launches.of(calls, self._wrap)
        return self._prefills[key], prompts

    def _forward(self, rows: int, replay: bool) -> Calls:
        if replay:
            assert self._graphs is not None
            return [("replay", self._graphs.captured[rows].graph.replay)]
        return self._forwards.decode(rows)

    def _step(
        self,
        turn: Turn,
        forward: Calls,
        rows: int,
        wanted: int,
        table: tuple[int, int],
        numbers: int,
        slots: torch.Tensor,
        overlap: bool,
    ) -> Calls:
        """All launches of a step, from its inputs to its tokens on the host.

        The first ``numbers`` of the turn's table are its inputs, of which the first are rows, shaped ``table``.
        ``rows`` are sampled and ``wanted`` of them copied back.
        """
        logits, sampled = self._model.logits[:rows], turn.sampled[:rows]
        source, placed = turn.host[:numbers], self._placed[:numbers]
        sample: Calls = [("argmax", partial(torch.argmax, logits, -1, out=sampled))]
        back = ("memcpy", partial(turn.back[:wanted].copy_, sampled[:wanted], non_blocking=True))
        streams = self._streams
        if not overlap:
            done = streams.forward if streams is not None else None
            bring = ("memcpy", partial(placed.copy_, source, non_blocking=True))
            return [bring, *forward, *sample, back, ("event_record", partial(turn.done.record, done))]
        staged = turn.staged[:numbers]
        bring = ("memcpy", partial(staged.copy_, source, non_blocking=True))
        resolve = self._resolve(staged, placed, table)
        store = ("store", self._model.ops.store(sampled, slots, self._future))
        if streams is None:
            return [bring, *resolve, *forward, *sample, store, back]
        return [
            ("stream", partial(torch.cuda.set_stream, streams.schedule)),
            bring,
            ("event_record", partial(turn.inputs_ready.record, streams.schedule)),
            ("stream", partial(torch.cuda.set_stream, streams.forward)),
            ("event_wait", partial(streams.forward.wait_event, turn.inputs_ready)),
            *resolve,
            *forward,
            *sample,
            store,
            ("event_record", partial(turn.tokens_ready.record, streams.forward)),
            ("stream", partial(torch.cuda.set_stream, streams.copy)),
            ("event_wait", partial(streams.copy.wait_event, turn.tokens_ready)),
            back,
            ("event_record", partial(turn.done.record, streams.copy)),
            ("stream", partial(torch.cuda.set_stream, streams.forward)),
        ]

    def _resolve(self, staged: torch.Tensor, placed: torch.Tensor, table: tuple[int, int]) -> Calls:
        """Put the rows into place, and what stands behind them as it is."""
        rows, width = table
        end = rows * width
        calls: Calls = [
            ("resolve", self._model.ops.resolve(staged[:end].view(table), self._future, placed[:end].view(table)))
        ]
        if len(staged) > end:
            calls.append(("store", partial(placed[end:].copy_, staged[end:])))
        return calls


def numbers_for(inputs: Inputs, rows: int, sampled: int, longest: int) -> int:
    """The largest table of inputs: of a decode step, or of one of ``rows`` tokens, their lists and all they read.

    ``sampled`` requests have at most ``longest`` tokens each.
    """
    prompts = wide_start(rows) + sampled * inputs.width + 4 * sampled + 2 + sampled * longest
    return max(sampled * inputs.width, prompts)
