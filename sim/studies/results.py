"""A scenario run in all its modes, simulated or for real: the numbers that ``run`` prints, as one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scenarios.loader import LoadedScenario
from scenarios.program import Program
from scenarios.scenario import Serving
from sim.fast.cycle import Cycle
from sim.studies.machines import MachineName
from sim.studies.noise import noise
from sim.studies.program import program_metrics, run_program
from sim.studies.serving import ServingRun
from sim.studies.why import BreakEven, Waterfall, break_evens, waterfall
from sim.timeline.latency import Latency, latency
from sim.timeline.metrics import IDLE_PARTS, host_parts, step_metrics
from sim.timeline.spans import Timeline

Progress = Callable[[str], None]
Numbers = tuple[dict[str, Any], tuple[int, int]]
"""What one timeline amounts to, ready for JSON (None: the run does not tell), and the part of it that was counted."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Where, with what and when a scenario was run for real; ``torch`` None where none was used."""

    on: str
    device: str
    torch: str | None
    date: str
    repeats: int

    def __str__(self) -> str:
        """Such as ``NVIDIA H200, torch 2.11.0+cu130, 2026-11-23``."""
        return ", ".join([self.device, *([f"torch {self.torch}"] if self.torch else []), self.date])


@dataclass
class Results:
    """What a run of all modes found. ``modes`` holds JSON-ready numbers, ``windows`` the steady part of a timeline.

    ``measured`` is None for a prediction; ``notes`` are what a reader of a measurement has to know, ``graphs`` what
    capturing took, by rows.
    """

    loaded: LoadedScenario
    seed: int
    changes: tuple[str, ...] = ()
    modes: dict[str, dict[str, Any]] = field(default_factory=dict)
    timelines: dict[str, Timeline] = field(default_factory=dict)
    windows: dict[str, tuple[int, int]] = field(default_factory=dict)
    speedup_of: str = "step time"
    waterfall: Waterfall | None = None
    break_evens: list[BreakEven] = field(default_factory=list)
    measured: Measured | None = None
    notes: list[str] = field(default_factory=list)
    graphs: dict[int, dict[str, float]] = field(default_factory=dict)
    cycles: dict[str, Cycle] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """One object with ``scenario``, ``seed``, ``profile`` and ``modes``; ``why`` of a prediction for serving.

        A mode that the engine does not have is null, and ``missing`` has the reason.

        The prediction of a closed batch has ``cycles``, too: the time of its repeating step, and what bounds it. A
        measurement has ``measured`` and ``notes`` in place of these, and the modes' noise and every repeat.
        """
        result: dict[str, Any] = {
            "scenario": self.loaded.source,
            "digest": self.loaded.digest,
            "seed": self.seed,
            "profile": self.loaded.profile.name,
            "speedup_of": self.speedup_of,
        }
        if self.measured is None:
            result["machine"] = {mode: {"name": t.machine, "refusal": t.refusal} for mode, t in self.timelines.items()}
        result["modes"] = {**self.modes, **dict.fromkeys(self.loaded.missing)}
        if self.loaded.missing:
            result["missing"] = dict(self.loaded.missing)
        if self.measured is not None:
            result |= {"measured": asdict(self.measured), "notes": self.notes, "graphs": self.graphs}
        if self.cycles:
            result["cycles"] = {
                mode: {"step_us": float(c.step) / 1000, "bound": c.bound, "text": str(c)}
                for mode, c in self.cycles.items()
            }
        if self.waterfall is not None:
            result["why"] = {
                "base": self.waterfall.base,
                "target": self.waterfall.target,
                "gain": float(self.waterfall.gain),
                "factors": [{"cause": f.cause, "gain": float(f.gain)} for f in self.waterfall.factors],
                "break_evens": [{"name": b.name, "value": b.value, "text": b.text} for b in self.break_evens],
            }
        return result


def predict_modes(
    loaded: LoadedScenario, seed: int = 0, progress: Progress = lambda _: None, machine: MachineName = "auto"
) -> Results:
    """Simulate every mode of a scenario; ``progress`` is told which."""
    scenario = loaded.scenario
    if isinstance(scenario, Program):
        runs = _each(scenario.modes, progress, lambda mode: run_program(loaded, mode, seed, machine))
    else:
        runs = _each(scenario.engine.modes, progress, ServingRun.of(loaded, seed, machine).timeline)
    return results_of(loaded, seed, runs)


def run_all(
    loaded: LoadedScenario, seed: int = 0, progress: Progress = lambda _: None, machine: MachineName = "auto"
) -> Results:
    """Simulate every mode of a scenario, then ask why the last one gains; ``progress`` is told what is being done."""
    results = predict_modes(loaded, seed, progress, machine)
    scenario = loaded.scenario
    if isinstance(scenario, Program):
        return results
    run = ServingRun.of(loaded, seed, machine)
    if scenario.workload.batch is not None:
        found = {mode: run.cycle(mode) for mode in scenario.engine.modes}
        results.cycles = {mode: cycle for mode, cycle in found.items() if cycle is not None}
    base, target = _ends(scenario.engine.modes)
    if base and target and scenario.workload.batch is not None:
        progress("why")
        results.waterfall = waterfall(run, base, target)
        progress("break-evens")
        results.break_evens = break_evens(run, scenario.engine.modes)
    return results


def _each(modes: tuple[str, ...], progress: Progress, run: Callable[[str], Timeline]) -> dict[str, Sequence[Timeline]]:
    """One timeline a mode: a simulation repeated is the same simulation."""
    runs: dict[str, Sequence[Timeline]] = {}
    for mode in modes:
        progress(mode)
        runs[mode] = [run(mode)]
    return runs


def results_of(
    loaded: LoadedScenario, seed: int, runs: Mapping[str, Sequence[Timeline]], measured: Measured | None = None
) -> Results:
    """The numbers of runs that have been made, several of each mode if they were measured.

    A mode is shown by its run in the median, so that its numbers belong to one another; all repeats stand beside it.
    """
    results = Results(loaded, seed, measured=measured)
    scenario = loaded.scenario
    closed = isinstance(scenario, Serving) and scenario.workload.batch is not None
    latencies: dict[str, Latency] = {}
    for mode, timelines in runs.items():
        if isinstance(scenario, Program):
            key, found = "total_us", [_program_numbers(t) for t in timelines]
        else:
            key, found = "step_us", [_serving_numbers(t, closed=closed) for t in timelines]
        order = sorted(range(len(found)), key=lambda i: found[i][0][key])
        middle = order[(len(order) - 1) // 2]
        numbers, results.windows[mode] = found[middle]
        results.timelines[mode] = timelines[middle]
        if measured is not None:
            repeats = [numbers[key] for numbers, _ in found]
            numbers |= {"noise_us": round(noise(repeats), 3), "repeats_us": repeats}
        if isinstance(scenario, Serving) and not closed:
            latencies[mode] = latency(timelines[middle])
            numbers |= latencies[mode].as_json()
        results.modes[mode] = numbers
    if isinstance(scenario, Program):
        results.speedup_of = "total time"
        _speedups(results, next(iter(runs)), "total_us")
    else:
        base = "serial-eager" if "serial-eager" in runs else next(iter(runs))
        if closed:
            _speedups(results, base, "step_us")
        elif any(found.saturated for found in latencies.values()):
            results.speedup_of = "throughput (saturated)"
            _speedups(results, base, "tokens_per_s", higher=True)
        else:
            results.speedup_of = "mean TPOT (below saturation)"
            _speedups(results, base, "tpot_mean_us")
    return results


def add_spans(results: Results, mode: str, timeline: Timeline) -> None:
    """Take from a run that recorded the device what only such a run tells; times stay those of the clean runs.

    The mode's timeline becomes the recorded one.
    """
    scenario = results.loaded.scenario
    if isinstance(scenario, Serving):
        keys: tuple[str, ...] = ("device_busy", "exposed_host_us", "idle", "launches", "kernels")
        numbers, window = _serving_numbers(timeline, closed=scenario.workload.batch is not None)
    else:
        keys = ("device_us", "launches", "kernels")
        numbers, window = _program_numbers(timeline)
    results.modes[mode] |= {key: numbers[key] for key in keys}
    results.timelines[mode], results.windows[mode] = timeline, window


def _serving_numbers(timeline: Timeline, *, closed: bool) -> Numbers:
    found = step_metrics(timeline, closed=closed)
    seen = bool(timeline.on_device.any())  # a run whose device keeps no spans says nothing about the device
    return {
        "step_us": round(found.step_ns / 1000, 3),
        "tokens_per_s": round(found.tokens_per_s, 3),
        "device_busy": round(found.device_busy, 6) if seen else None,
        "exposed_host_us": round(found.exposed_host_ns / 1000, 3) if seen else None,
        "idle": {part: round(found.idle[part] / 1000, 3) for part in IDLE_PARTS} if seen else None,
        "host": {part: round(ns / 1000, 3) for part, ns in host_parts(timeline, found.window, found.steps).items()},
        "launches": round(found.launches, 3) if timeline.launching.any() else None,
        "kernels": round(found.kernels, 3) if seen else None,
        "late_rows": found.late_rows,
    }, found.window


def _program_numbers(timeline: Timeline) -> Numbers:
    found = program_metrics(timeline)
    seen = bool(timeline.on_device.any())
    return {
        "total_us": found.total_ns / 1000,
        "host_us": found.host_ns / 1000,
        "device_us": found.device_ns / 1000 if seen else None,
        "launches": found.launches,
        "kernels": found.kernels if seen else None,
    }, (0, found.total_ns)


def _speedups(results: Results, base: str, key: str, *, higher: bool = False) -> None:
    """Each mode against the base, by a number of which less is better unless ``higher`` is."""
    reference = results.modes[base][key]
    for numbers in results.modes.values():
        ratio = numbers[key] / reference if higher else reference / numbers[key] if numbers[key] else 1.0
        numbers["speedup"] = round(ratio, 6)


def _ends(modes: tuple[str, ...]) -> tuple[str | None, str | None]:
    """From which mode to which the gain is explained: the plainest serial one, and the last with more."""
    base = next((m for m in ("serial-eager", "serial-graph") if m in modes), None)
    order = ("overlap-graph", "overlap-eager", "serial-graph") if base == "serial-eager" else ("overlap-graph",)
    target = next((m for m in order if m in modes and m != base), None)
    return base, target
