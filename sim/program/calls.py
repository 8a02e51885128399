"""What a host thread pays to enqueue an operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.program.array_namespace import namespace
from sim.program.constants import Constants
from sim.program.ops import Collective, Copy, Kernel, Op, Record, Replay, Think, WaitEvent, api_name


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the CUDA runtime: ``held`` ns of framework code under the GIL, then ``api`` ns without it."""

    name: str
    held: int
    api: int

    @property
    def ns(self) -> int:
        """The whole call."""
        return self.held + self.api


@dataclass(frozen=True)
class HostCosts:
    """Host time of enqueuing and of the server's own work, medians in nanoseconds.

    ``framework`` is what the framework adds to a bare launch, by the operation's name, ``framework_default`` for the
    others. ``work`` gives, by name, (base, per row, per token) of the server's work, ``prompts`` what prompts add to
    it, (any at all, each). ``scale`` multiplies all of it, API calls included; ``extra`` is added to each schedule,
    unscaled.
    """

    constants: Constants = field(default_factory=Constants)
    framework: Mapping[str, int] = field(default_factory=dict)
    framework_default: int = 0
    work: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    prompts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    scale: float = 1.0
    extra: int = 0
    _calls: dict[object, Call] = field(default_factory=dict, init=False, repr=False, compare=False)
    _works: dict[tuple[str, int, int, int], int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def work_ns(self, name: str, rows: int, tokens: int, prompts: int = 0) -> int:
        """Time of the server's work ``name`` for a batch of that size; 0 for work without a cost."""
        key = name, rows, tokens, prompts
        ns = self._works.get(key)
        if ns is None:
            base, per_row, per_token = self.work.get(name, (0, 0, 0))
            any_prompts, per_prompt = self.prompts.get(name, (0, 0))
            of_prompts = any_prompts + per_prompt * prompts if prompts else 0
            ns = self.scaled(base + per_row * rows + per_token * tokens + of_prompts)
            ns = self._works[key] = ns + self.extra if name == "schedule" else ns
        return ns

    @property
    def entering(self) -> int:
        """What it takes the framework to enter another stream, unscaled."""
        return self.framework.get("stream", 0)

    def scaled(self, ns: int) -> int:
        """A host time on this host."""
        return round(ns * self.scale)

    def call(self, op: Op) -> Call:
        """The call that enqueues an operation; what a graph's first launch costs on top is not in it."""
        # Kernels of one call cost the same, and so do graphs of one size, however long their kernels take.
        key = op.call if op.__class__ is Kernel else len(op.graph.kernels) if op.__class__ is Replay else op
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = self._call(op)
        return call

    def _call(self, op: Op) -> Call:
        c, name = self.constants, api_name(op)
        if isinstance(op, Kernel | Collective):
            kind = op.call if isinstance(op, Kernel) else "collective"
            held = self.framework.get(kind, self.framework_default)
            return Call(name, self.scaled(held), self.scaled(c.launch_call))
        if isinstance(op, Replay):
            nodes = len(op.graph.kernels)
            api = c.graph_launch_call + c.graph_launch_call_per_1000_nodes * nodes // 1000
            return Call(name, self._held("replay"), self.scaled(api))
        if isinstance(op, Copy):
            return Call(name, self._held("memcpy"), self.scaled(c.copy_call))
        if isinstance(op, Record):
            return Call(name, self._held("event_record"), self.scaled(c.event_record_call))
        if isinstance(op, WaitEvent):
            return Call(name, self._held("event_wait"), self.scaled(c.event_wait_call))
        assert isinstance(op, Think)
        return Call(name, self.scaled(op.ns), 0)

    def _held(self, kind: str) -> int:
        """What the framework adds to a call that launches no kernel; nothing unless it says so."""
        return self.scaled(self.framework.get(kind, 0))

    def first_replay(self, op: Replay) -> int:
        """What the first launch of an executable adds to its call."""
        c = self.constants
        return self.scaled(c.first_replay + c.first_replay_per_1000_nodes * len(op.graph.kernels) // 1000)


class ManyHosts(HostCosts):
    """One host at several speeds at once: ``scale`` and ``extra`` are columns of one array library, and times, too."""

    scale: Any
    extra: Any

    def scaled(self, ns: int) -> Any:
        """A host time on each of the hosts."""
        library = namespace(self.scale)
        return library.asarray(library.round(ns * self.scale), dtype=library.int64)
