"""A device of a wall-clock machine: torch on a CPU or a CUDA GPU."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpu.engine.graphs import DecodeGraphs
from gpu.engine.inputs import Inputs, Table
from gpu.model.llama import Llama
from sim.effects import DEVICE, How, Phase, Step
from sim.program.ops import Op
from sim.serving.batch import Batch
from sim.serving.batch import Phase as BatchPhase
from sim.timeline.spans import Recorder


@dataclass
class Turn:
    """Buffers of every second step: a step may not use them before the step before last has been waited for."""

    host: torch.Tensor
    filled: Table
    staged: torch.Tensor
    back: torch.Tensor
    kept: torch.Tensor
    ready: Any
    sampled: Any
    done: Any


class TorchDevice:
    """Runs phases of a Llama. ``graphs`` None runs every batch eager; a CPU has no streams and no graphs.

    A serial step keeps to the forward stream. Under overlap its rows go to a staging table over the schedule stream,
    the resolve kernel puts them in place on the forward stream, sampled tokens are stored in the FutureMap's buffer,
    and from there the copy stream takes them to a pinned buffer.
    """

    def __init__(self, model: Llama, inputs: Inputs, *, rows: int, slots: int, graphs: DecodeGraphs | None) -> None:
        self._model = model
        self._inputs = inputs
        self._graphs = graphs
        on = model.weights.embedding.device
        self._cuda = on.type == "cuda"
        self._placed = (
            graphs.meta if graphs is not None else torch.zeros(rows, inputs.width, dtype=torch.int32, device=on)
        )
        self._future = torch.zeros(slots, dtype=torch.int64, device=on)
        self._turns = [self._turn(rows, inputs.width, on) for _ in range(2)]
        self._next = 0
        self._scattered: tuple[Sequence[int], Any] = ((), None)
        self._flying: dict[Step, tuple[Turn, Batch]] = {}
        self._entered = False
        if self._cuda:
            self._before = torch.cuda.current_stream()
            self._forward, self._schedule, self._copy = (torch.cuda.Stream() for _ in range(3))
            torch.cuda.synchronize()  # what was made on another stream is there before these streams use it

    def streams(self) -> dict[str, torch.cuda.Stream]:
        """The streams by what runs on them; a CPU has none."""
        if not self._cuda:
            return {}
        return {"forward": self._forward, "schedule": self._schedule, "copy": self._copy}

    def _turn(self, rows: int, width: int, on: torch.device) -> Turn:
        host = torch.zeros(rows, width, dtype=torch.int32, pin_memory=self._cuda)
        events = [torch.cuda.Event() if self._cuda else None for _ in range(3)]
        back = torch.zeros(rows, dtype=torch.int64, pin_memory=self._cuda)
        kept = torch.zeros(rows, dtype=torch.int64, device=on)
        return Turn(host, host.numpy(), torch.zeros_like(host, device=on), back, kept, *events)

    def launch(self, work: Phase | Sequence[Op], stream: str, step: Step) -> None:
        """Enqueue a phase."""
        del stream
        if not isinstance(work, Phase):
            raise TypeError("a model's device runs phases, not single operations")
        if self._cuda and not self._entered:
            torch.cuda.set_stream(self._forward)
            self._entered = True
        batch, overlap = work.batch, "resolve" in work.parts
        turn = self._turns[self._next]
        self._next ^= 1
        rows = self._fill(batch, turn.filled)
        self._place(turn, rows, overlap=overlap)
        sampled = torch.argmax(self._logits(batch, rows), -1)[: batch.rows]
        back = turn.back[: batch.rows]
        if overlap:
            sampled = self._store(turn, batch, sampled)
        if overlap and self._cuda:
            turn.sampled.record(self._forward)
            self._copy.wait_event(turn.sampled)
            with torch.cuda.stream(self._copy):
                back.copy_(sampled, non_blocking=True)
            turn.done.record(self._copy)
        else:
            back.copy_(sampled, non_blocking=True)
            if self._cuda:
                turn.done.record(self._forward)
        self._flying[step] = turn, batch

    def _store(self, turn: Turn, batch: Batch, sampled: torch.Tensor) -> torch.Tensor:
        """Keep a step's tokens for the next step, and where the copy stream finds them for as long as it needs them."""
        assert batch.slots is not None
        if isinstance(batch.slots, range):
            slots = self._future[batch.slots.start : batch.slots.stop]
            slots.copy_(sampled)
            return slots
        if batch.slots is not self._scattered[0]:
            self._scattered = batch.slots, torch.tensor(batch.slots, device=self._future.device)
        self._future.index_copy_(0, self._scattered[1], sampled)
        kept = turn.kept[: batch.rows]  # the next step overwrites the slots of its requests
        kept.copy_(sampled)
        return kept

    def _fill(self, batch: Batch, out: Table) -> int:
        if batch.phase is BatchPhase.PREFILL:
            self._inputs.prefill(batch, out)
            return batch.tokens
        self._inputs.decode(batch, out)
        return batch.bucket or batch.rows

    def _place(self, turn: Turn, rows: int, *, overlap: bool) -> None:
        """Bring a step's rows to where its kernels read them."""
        if not overlap:
            self._placed[:rows].copy_(turn.host[:rows], non_blocking=True)
            return
        staged = turn.staged[:rows]
        if self._cuda:
            with torch.cuda.stream(self._schedule):
                staged.copy_(turn.host[:rows], non_blocking=True)
            turn.ready.record(self._schedule)
            self._forward.wait_event(turn.ready)
        else:
            staged.copy_(turn.host[:rows])
        self._model.ops.resolve(staged, self._future, self._placed)

    def _logits(self, batch: Batch, rows: int) -> torch.Tensor:
        if batch.phase is BatchPhase.PREFILL:
            ends = torch.tensor(batch.prompts).cumsum(0).sub_(1).to(self._placed.device)
            return self._model.prefill(self._placed[:rows], batch.prompts, ends)
        if batch.bucket is not None and self._graphs is not None:
            return self._graphs.replay(batch.bucket)
        return self._model.decode(self._placed[:rows])

    def synchronize(self, on: Step | Hashable, how: How) -> tuple[int, ...] | None:
        """Wait for a step and return its tokens, or for the whole device."""
        del how
        if not isinstance(on, Step):
            if on != DEVICE:
                raise TypeError(f"a model's device waits for steps, not for {on!r}")
            if self._cuda:
                torch.cuda.synchronize()
            return None
        turn, batch = self._flying.pop(on)
        if self._cuda:
            turn.done.synchronize()
        tokens = turn.back[: batch.rows].tolist()
        self._inputs.learn(batch, tokens)
        return tuple(tokens)

    def ready(self, on: Step | Hashable) -> bool:
        """Whether a step's tokens have arrived."""
        assert isinstance(on, Step)
        return not self._cuda or bool(self._flying[on][0].done.query())

    def close(self, recorder: Recorder, origin: int) -> None:
        """Wait for the device. A timed run has no device spans: recording them would take the time it measures."""
        del recorder, origin
        if self._cuda:
            torch.cuda.synchronize()
            torch.cuda.set_stream(self._before)
