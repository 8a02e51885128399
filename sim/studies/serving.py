"""A serving scenario on a virtual machine, one mode at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from scenarios.engine import EnginePreset
from scenarios.errors import Problem, ScenarioError
from scenarios.loader import LoadedScenario
from scenarios.model import ModelShape, TimerModel
from scenarios.profile import Profile
from scenarios.scenario import Serving
from sim.effects import Loop, Source
from sim.fast.cycle import Cycle
from sim.fast.machine import FastMachine
from sim.fast.refusal import OutsideError
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.decode_prices import PAGE
from sim.program.durations import Durations
from sim.program.lowering import Lowering, TimerLowering, TransformerLowering, decode_graph, piece_graph
from sim.program.tensor_parallel import Links, sharded
from sim.ranks import ranked_loops, ranks_of
from sim.serving.buckets import Buckets
from sim.serving.future_map import RequestSlots, SlotRing
from sim.serving.kv_cache import KVCache
from sim.serving.policies import PolicyError
from sim.serving.prefix_cache import PrefixCache
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server
from sim.serving.source import RequestSource
from sim.serving.waiting import ORDERINGS
from sim.studies.host_numbers import with_host_numbers
from sim.studies.kv_blocks import graph_bytes, kv_blocks
from sim.studies.machines import MachineName, simulate
from sim.studies.policy import policy_of
from sim.studies.threads import threads
from sim.studies.watched import WatchedSource
from sim.studies.workload import build_source
from sim.timeline.spans import Timeline

SPARE_BATCHES = 2
"""Slots for so many full batches beyond the steps in flight: a ring's pieces do not wrap."""
HOUR = 3_600 * 10**9
STEPS_TO_REPEAT = 12
"""Steps after which a closed batch's step is taken to be the one that repeats."""


@dataclass(frozen=True)
class ServingRun:
    """A scenario with everything a run depends on; ``replace`` a field to ask what if.

    ``scale`` multiplies every host time on top of the scenario's, ``constants`` are the machine's, ``buckets`` the
    captured graphs; ``free_slots`` leaves the FutureMap's kernels out, ``machine`` is the virtual one. No request
    meets another when it is ``alone``.
    """

    source: str
    scenario: Serving
    model: ModelShape | TimerModel
    profile: Profile
    engine: EnginePreset
    constants: Constants
    buckets: tuple[int, ...]
    scale: float
    seed: int = 0
    free_slots: bool = False
    machine: MachineName = "auto"
    alone: bool = False

    @classmethod
    def of(cls, loaded: LoadedScenario, seed: int = 0, machine: MachineName = "auto") -> ServingRun:
        """The run that a loaded scenario asks for."""
        scenario = loaded.scenario
        assert isinstance(scenario, Serving)
        assert loaded.model is not None
        return cls(
            loaded.source,
            scenario,
            loaded.model,
            loaded.profile,
            loaded.engine,
            Constants.of(loaded.profile).in_steps,
            loaded.engine.buckets,
            scenario.host.scale,
            seed,
            machine=machine,
        )

    def with_host_numbers(self, numbers: Mapping[str, int]) -> ServingRun:
        """The same scenario on a host that takes these nanoseconds, by kind of launch and of work.

        A timer's host work is the scenario's own, which takes as long on any host.
        """
        if isinstance(self.model, TimerModel):
            return self
        engine, constants = with_host_numbers(self.engine, self.constants, numbers)
        return replace(self, engine=engine, constants=constants)

    def as_profiled(self) -> ServingRun:
        """The same run in a process in which a profiler has run, to compare with spans that one has recorded."""
        return replace(self, constants=Constants.profiled(self.profile).in_steps)

    def with_workload(self, **changes: object) -> ServingRun:
        """The same scenario with some fields of its workload changed."""
        workload = self.scenario.workload.model_copy(update=changes)
        return replace(self, scenario=self.scenario.model_copy(update={"workload": workload}))

    @property
    def runs_eager(self) -> bool:
        """Whether a closed batch has no bucket, so that no graph is replayed for it."""
        batch = self.scenario.workload.batch
        return batch is not None and Buckets(self.buckets, pad=self.engine.pad_to_bucket).fit(batch) is None

    def timeline(
        self,
        mode: str,
        *,
        spans: bool = True,
        told: Callable[[int], None] | None = None,
        source: Source | None = None,
    ) -> Timeline:
        """Simulate one server in one mode; raises ``ScenarioError`` as ``serve`` does, and where ``machine`` refuses.

        ``told`` is called with the number of requests served so far, now and then. ``source`` has other requests than
        the workload's.
        """
        ranks = None if self.links is None else ranks_of(self.links.ranks)
        return simulate(
            self.machine,
            lambda machine: self.serve(mode, partial(machine.run, warm=self.warm(), ranks=ranks), told, source),
            self.costs(),
            self.lowering(),
            quantiles=self.profile.jitter.quantiles if self.scenario.host.jitter else None,
            seed=self.seed,
            spans=spans,
        )

    def cycle(self, mode: str) -> Cycle | None:
        """The cycle time of a closed batch's step after its first few, None for loops that do not repeat themselves.

        Host times are their medians. None, too, for what is outside of the fast machine.
        """
        tokens = min(STEPS_TO_REPEAT, self.scenario.workload.longest_output)
        short = self.with_workload(output_tokens=tokens, stop_share=0.0)
        machine = FastMachine(self.costs(), self.lowering(), spans=False)
        try:
            return machine.cycle(self.threads(mode, self.server(mode)), short.requests(), self.warm())
        except OutsideError:
            return None

    def serve(
        self,
        mode: str,
        run: Callable[[Mapping[str, Loop[Any]], Source], Timeline],
        told: Callable[[int], None] | None = None,
        source: Source | None = None,
    ) -> Timeline:
        """Have a machine run one mode's loop on a fresh server.

        Raises ``ScenarioError`` when the model or a request does not fit into the memory of the profile's device.
        """
        batch = self.scenario.workload.batch
        if batch is not None and 1 <= self.largest_batch < batch:
            message = (
                f"found {batch}, expected at most {self.largest_batch}: no more such requests fit into the KV cache"
            )
            raise ScenarioError([Problem(self.source, "workload.batch", message)])
        source = source or self.requests()
        if told is not None:
            source = WatchedSource(source, told)
        try:
            return run(self.threads(mode, self.server(mode)), source)
        except ValueError as error:
            trace, of_policy = self.scenario.workload.trace, isinstance(error, PolicyError)
            where = (self.source, "engine.policy") if of_policy else (trace or self.source, "workload")
            raise ScenarioError([Problem(*where, str(error))]) from error

    def threads(self, mode: str, server: Server) -> Mapping[str, Loop[None]]:
        """The host threads of one mode: the engine's loops around a server, on every rank of it.

        A thread that waits for results beside the one that launches belongs to rank 0.
        """
        found = threads(self.engine, mode, server)
        if self.links is None:
            return found
        if "forward" in found:
            message = f"found {self.links.ranks}, expected 1: {self.engine.name} launches from a thread of its own"
            raise ScenarioError([Problem(self.source, "tensor_parallel.ranks", message)])
        return {**found, **ranked_loops(found["scheduler"], self.links.ranks)}

    @cached_property
    def links(self) -> Links | None:
        """What connects the ranks of a server; None where there is one."""
        parallel = self.scenario.tensor_parallel
        return None if parallel.ranks == 1 else Links(parallel.ranks, parallel.latency, parallel.bandwidth)

    @cached_property
    def part(self) -> ModelShape | TimerModel:
        """What of the model each rank holds; raises ``ScenarioError`` where it cannot be shared out."""
        if self.links is None:
            return self.model
        why = "a timer cannot be shared out"
        if isinstance(self.model, ModelShape):
            try:
                return sharded(self.model, self.links.ranks)
            except ValueError as error:
                why = str(error)
        message = f"found {self.links.ranks}, expected another number: {why}"
        raise ScenarioError([Problem(self.source, "tensor_parallel.ranks", message)])

    def warm(self) -> list[Hashable]:
        """All executable graphs: a server replays each once when it captures it."""
        layers = self.model.layers if isinstance(self.model, ModelShape) else 0
        pieces = [piece_graph(tokens, i) for tokens in self.engine.piecewise or () for i in range(layers + 1)]
        return [*(decode_graph(bucket) for bucket in self.buckets), *pieces]

    def requests(self) -> RequestSource:
        """The workload's requests, as they arrive."""
        foreseen = not self.engine.late_stop_token
        source = build_source(self.scenario.workload, seed=self.seed, foreseen_stops=foreseen)
        return source.spaced(HOUR) if self.alone else source

    def costs(self) -> HostCosts:
        """What the host pays."""
        host, framework = self.engine.host, self.engine.framework
        work = {
            name: (cost.base, cost.per_row, cost.per_token)
            for name in ("receive", "schedule", "prepare", "process", "mask")
            if (cost := getattr(host, name)) is not None
        }
        prompts = {name: (cost.prefill, cost.per_prompt) for name in work for cost in [getattr(host, name)]}
        return HostCosts(
            self.constants, framework.by_kind, framework.default, work, prompts, self.scale, self.scenario.host.extra
        )

    def lowering(self) -> Lowering:
        """From a batch's phase to operations; one object for all modes, since it remembers prices."""
        return self._lowering

    @cached_property
    def _lowering(self) -> Lowering:
        scale = self.scenario.kernels.scale
        if isinstance(self.part, TimerModel):
            return TimerLowering(self.part, scale)
        assert isinstance(self.model, ModelShape)
        durations = Durations(self.profile, scale)
        return TransformerLowering(self.model, self.engine, durations, free_slots=self.free_slots, links=self.links)

    def server(self, mode: str, blocks: int | None = None) -> Server:
        """The server of one mode, with as many cache blocks as the device has room for unless told otherwise."""
        engine = self.engine
        batch = self.scenario.workload.batch
        max_rows = max(engine.max_batch, batch or 0)
        if engine.batching == "mixed" and engine.chunked_prefill and engine.token_budget < max_rows:
            message = (
                f"found {engine.token_budget}, expected at least {max_rows}, the most rows that decode in every step"
            )
            raise ScenarioError([Problem(self.source, "engine.token_budget", message)])
        scheduler = Scheduler(
            (PrefixCache if engine.prefix_cache else KVCache)(
                self._kv_blocks(mode) if blocks is None else blocks, PAGE
            ),
            policy=policy_of(engine, self.source),
            waiting=ORDERINGS[engine.ordering](),
            max_rows=max_rows,
            token_budget=engine.token_budget,
            chunked=engine.chunked_prefill,
            foresee_length=not engine.late_stop_length,
            late_rows=self._late_rows,
            grow=engine.kv_reservation == "grow",
            watermark=engine.watermark,
        )
        slots: SlotRing | RequestSlots | None = None
        if mode.startswith("overlap"):
            form = SlotRing if engine.future_map == "ring" else RequestSlots
            slots = form((SPARE_BATCHES + engine.overlap.steps_in_flight) * max_rows)
        if not mode.endswith("graph"):
            return Server(scheduler, slots=slots)
        pieces = None if engine.piecewise is None else Buckets(engine.piecewise)
        return Server(scheduler, Buckets(self.buckets, pad=engine.pad_to_bucket), slots, pieces)

    @property
    def _late_rows(self) -> int:
        """Rows that a request may run after its end: those in flight when it is seen, and room for one in any case."""
        return max(1, self.engine.overlap.steps_in_flight - 1)

    def _kv_blocks(self, mode: str) -> int:
        if self.engine.kv_blocks is not None:
            return self.engine.kv_blocks
        if isinstance(self.part, TimerModel):
            return 1 << 40  # a timer has no cache to fill
        try:
            return kv_blocks(self.part, self.profile, self.engine, self._graph_bytes if mode.endswith("graph") else 0)
        except ValueError as error:
            raise ScenarioError([Problem(self.source, "model", str(error))]) from error

    @cached_property
    def _graph_bytes(self) -> int:
        assert isinstance(self.part, ModelShape)
        return graph_bytes(self.part, self.engine, self.buckets, self.lowering())

    @property
    def smallest_cache(self) -> int:
        """The fewest cache blocks that a mode has."""
        return min(map(self._kv_blocks, self.scenario.engine.modes))

    @property
    def largest_batch(self) -> int:
        """How many requests of the workload fit into the KV cache together, in every mode."""
        return self.largest_of(self.smallest_cache)

    def largest_of(self, blocks: int) -> int:
        """How many fit into so many blocks."""
        workload = self.scenario.workload
        return blocks // -(-(workload.longest_context + workload.longest_output + self._late_rows) // PAGE)
