"""A scenario run in all its modes: the numbers that ``run`` prints, as one object for scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scenarios.loader import LoadedScenario
from scenarios.program import Program
from scenarios.scenario import Serving
from sim.fast.cycle import Cycle
from sim.studies.machines import MachineName
from sim.studies.program import program_metrics, run_program
from sim.studies.serving import ServingRun
from sim.studies.why import BreakEven, Waterfall, break_evens, waterfall
from sim.timeline.latency import Latency, latency
from sim.timeline.metrics import IDLE_PARTS, step_metrics
from sim.timeline.spans import Timeline

Progress = Callable[[str], None]


@dataclass
class Results:
    """What a run of all modes found. ``modes`` holds JSON-ready numbers, ``windows`` the steady part of a timeline."""

    loaded: LoadedScenario
    seed: int
    changes: tuple[str, ...] = ()
    modes: dict[str, dict[str, Any]] = field(default_factory=dict)
    timelines: dict[str, Timeline] = field(default_factory=dict)
    windows: dict[str, tuple[int, int]] = field(default_factory=dict)
    speedup_of: str = "step time"
    waterfall: Waterfall | None = None
    break_evens: list[BreakEven] = field(default_factory=list)
    cycles: dict[str, Cycle] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """One object with ``scenario``, ``seed``, ``profile`` and ``modes``; for serving also ``why``.

        A closed batch has ``cycles``, too: the time of its repeating step, and what bounds it.
        """
        result: dict[str, Any] = {
            "scenario": self.loaded.source,
            "digest": self.loaded.digest,
            "seed": self.seed,
            "profile": self.loaded.profile.name,
            "speedup_of": self.speedup_of,
            "machine": {mode: {"name": t.machine, "refusal": t.refusal} for mode, t in self.timelines.items()},
            "modes": self.modes,
        }
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


def modes_of(scenario: Serving | Program) -> tuple[str, ...]:
    """The modes that a scenario is run in."""
    return scenario.modes if isinstance(scenario, Program) else scenario.engine.modes


def run_all(
    loaded: LoadedScenario, seed: int = 0, progress: Progress = lambda _: None, machine: MachineName = "auto"
) -> Results:
    """Run every mode of a scenario, then ask why the last one gains; ``progress`` is told what is being done."""
    if isinstance(loaded.scenario, Program):
        return _run_program(loaded, seed, progress, machine)
    return _run_serving(loaded, loaded.scenario, seed, progress, machine)


def _run_program(loaded: LoadedScenario, seed: int, progress: Progress, machine: MachineName) -> Results:
    assert isinstance(loaded.scenario, Program)
    results = Results(loaded, seed, speedup_of="total time")
    for mode in loaded.scenario.modes:
        progress(mode)
        timeline = run_program(loaded, mode, seed, machine)
        found = program_metrics(timeline)
        first = next(iter(results.modes.values()), None)
        total = found.total_ns / 1000
        results.modes[mode] = {
            "total_us": total,
            "host_us": found.host_ns / 1000,
            "device_us": found.device_ns / 1000,
            "speedup": first["total_us"] / total if first else 1.0,
            "launches": found.launches,
            "kernels": found.kernels,
        }
        results.timelines[mode] = timeline
        results.windows[mode] = (0, found.total_ns)
    return results


def _run_serving(
    loaded: LoadedScenario, scenario: Serving, seed: int, progress: Progress, machine: MachineName
) -> Results:
    results = Results(loaded, seed)
    run = ServingRun.of(loaded, seed, machine)
    closed = scenario.workload.batch is not None
    latencies: dict[str, Latency] = {}
    for mode in scenario.engine.modes:
        progress(mode)
        timeline = run.timeline(mode)
        found = step_metrics(timeline, closed=closed)
        results.modes[mode] = {
            "step_us": round(found.step_ns / 1000, 3),
            "tokens_per_s": round(found.tokens_per_s, 3),
            "device_busy": round(found.device_busy, 6),
            "exposed_host_us": round(found.exposed_host_ns / 1000, 3),
            "idle": {part: round(found.idle[part] / 1000, 3) for part in IDLE_PARTS},
            "launches": round(found.launches, 3),
            "kernels": round(found.kernels, 3),
            "late_rows": found.late_rows,
        }
        if not closed:
            latencies[mode] = latency(timeline)
            results.modes[mode] |= latencies[mode].as_json()
        results.timelines[mode] = timeline
        results.windows[mode] = found.window
        if closed and (cycle := run.cycle(mode)):
            results.cycles[mode] = cycle
    _speedups(results, latencies, closed=closed)
    base, target = _ends(scenario.engine.modes)
    if base and target and closed:
        progress("why")
        results.waterfall = waterfall(run, base, target)
        progress("break-evens")
        results.break_evens = break_evens(run, scenario.engine.modes)
    return results


def _speedups(results: Results, latencies: dict[str, Latency], *, closed: bool) -> None:
    """Against serial-eager, or the first mode without it, by what the workload makes meaningful."""
    base = "serial-eager" if "serial-eager" in results.modes else next(iter(results.modes))
    if closed:
        key, higher = "step_us", False
    elif any(found.saturated for found in latencies.values()):
        key, higher, results.speedup_of = "tokens_per_s", True, "throughput (saturated)"
    else:
        key, higher, results.speedup_of = "tpot_mean_us", False, "mean TPOT (below saturation)"
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
