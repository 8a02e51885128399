"""A training scenario made ready to run for real."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import torch

from gpu.machines.wall import no_collection
from gpu.memory import memory_errors, require
from gpu.training.step import TrainingStep, captured
from scenarios.training import Training
from sim.timeline.spans import Kind, Place, Recorder, Timeline

WARM_UP = 3
FEWEST, MOST, LONG = 1, 7, 400_000_000
"""Runs of all steps, which end once they have taken so many nanoseconds."""


class TrainingSession:
    """Each mode has a model of its own, since gradients of a captured step lie in the graph's memory.

    A timeline holds a span for every step as the host saw it, from its first call to the return of its last, and the
    wait at the end. Raises ``ScenarioError`` for models that do not fit into the memory that is free.
    """

    def __init__(self, training: Training, source: str, on: str) -> None:
        self._training = training
        self._source = source
        self._on = on
        self._steps: dict[str, Callable[[], None]] = {}

    def run(self, mode: str) -> Timeline:
        """Run all steps of one mode, warmed up, a few times over, and return the run whose time is the median.

        What a host takes for the same steps scatters by a fifth from one run to the next. Nothing is collected
        meanwhile, as where its costs were measured.
        """
        if mode not in self._steps:
            self._steps[mode] = self._made(mode)
        step = self._steps[mode]
        runs: list[list[int]] = []
        with no_collection():
            for _ in range(WARM_UP):
                step()
            self._synchronize()
            while len(runs) < FEWEST or (len(runs) < MOST and sum(run[-1] - run[0] for run in runs) < LONG):
                runs.append(self._stamps(step))
        runs.sort(key=lambda run: run[-1] - run[0])
        *stamps, end = runs[(len(runs) - 1) // 2]
        origin = stamps[0]
        recorder = Recorder()
        track = recorder.track("main", Place.HOST_THREAD)
        for before, after in pairwise(stamps):
            recorder.span(track, before - origin, after - origin, Kind.HOST, recorder.name("step"))
        recorder.span(track, stamps[-1] - origin, end - origin, Kind.WAIT, recorder.name("cudaDeviceSynchronize"))
        return recorder.timeline(origin)

    def _stamps(self, step: Callable[[], None]) -> list[int]:
        """The moments (ns) before all steps, after each call, and when all is done."""
        clock = time.perf_counter_ns
        stamps = [clock()]
        for _ in range(self._training.steps):
            step()
            stamps.append(clock())
        self._synchronize()
        return [*stamps, clock()]

    def sampled(self) -> None:
        """Training has no tokens."""

    def close(self) -> None:
        """Give back models, optimizers and graphs."""
        self._steps.clear()

    def _made(self, mode: str) -> Callable[[], None]:
        training = self._training
        weights = 2 * training.layers * (8 * training.hidden**2 + 2 * training.hidden)
        activations = 2 * training.layers * training.rows * 12 * training.hidden
        parts = {"weights, gradients and moments": 4 * weights, "activations": activations}
        require(self._source, "hidden", parts, self._on)
        with memory_errors(self._source):
            step = TrainingStep(
                training.hidden,
                training.layers,
                training.rows,
                accumulate=training.accumulate,
                optimizer=training.optimizer,
                device=self._on,
            )
            return step if mode == "eager" else captured(step, whole=mode == "graph-step")

    def _synchronize(self) -> None:
        if self._on == "cuda":
            torch.cuda.synchronize()
