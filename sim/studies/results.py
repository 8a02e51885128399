"""A scenario run in all its modes, simulated or for real: the numbers that ``run`` prints, as one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scenarios.loader import LoadedScenario, Scenario
from scenarios.program import WithoutServer
from scenarios.scenario import Serving
from sim.fast.cycle import Cycle
from sim.studies.machines import MachineName
from sim.studies.noise import noise
from sim.studies.program import program_metrics, run_program
from sim.studies.reasons import reasons
from sim.studies.replications import combined, mean_of, ratio_interval
from sim.studies.servers import timelines, tokens_per_s
from sim.studies.serving import ServingRun
from sim.studies.why import BreakEven, Waterfall, break_evens, waterfall
from sim.timeline.latency import Latencies
from sim.timeline.load import load_metrics
from sim.timeline.metrics import IDLE_PARTS, StepMetrics, host_parts, step_metrics
from sim.timeline.skew import collective_wait
from sim.timeline.spans import Timeline

Progress = Callable[[str], None]
SHORT = 300
"""Open requests of a run that keeps its spans: of many thousand an 8B model has a hundred million."""
REPLICATIONS = 5
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
    capturing took, by rows. Numbers are means over ``replications``, seeds from ``seed`` on; timelines are the first's,
    and of several ``servers`` the first one's.
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
    reasons: list[str] = field(default_factory=list)
    draws: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    servers: dict[str, list[Timeline]] = field(default_factory=dict)

    @property
    def replications(self) -> int:
        """How many draws the numbers are means of."""
        return max(1, len(self.draws))

    def add(self, other: Results) -> None:
        """Take in another draw of the same scenario."""
        self.draws = [*(self.draws or [self.modes]), other.modes]
        self.modes = {mode: combined([draw[mode] for draw in self.draws]) for mode in self.modes}

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
            "replications": self.replications,
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
        if self.reasons:
            result["reasons"] = self.reasons
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
    loaded: LoadedScenario,
    seed: int = 0,
    progress: Progress = lambda _: None,
    machine: MachineName = "auto",
    *,
    spans: bool = True,
) -> Results:
    """Simulate every mode of a scenario; ``progress`` is told which, and how far it is."""
    scenario = loaded.scenario
    servers: dict[str, list[Timeline]] = {}
    if isinstance(scenario, WithoutServer):
        runs = _each(scenario.modes, progress, lambda mode: run_program(loaded, mode, seed, machine))
    else:
        run = ServingRun.of(loaded, seed, machine)
        count = "" if scenario.workload.requests is None else f" of {scenario.workload.requests:,}"

        def simulated(mode: str) -> Timeline:
            def told(served: int) -> None:
                progress(f"{mode}, {served:,}{count} requests")

            servers[mode] = timelines(run, mode, spans=spans, told=told)
            return servers[mode][0]

        runs = _each(scenario.engine.modes, progress, simulated)
    results = results_of(loaded, seed, runs)
    if any(len(several) > 1 for several in servers.values()):
        _join(results, servers)
    return results


def _join(results: Results, servers: dict[str, list[Timeline]]) -> None:
    """Make the numbers those of all servers together: of steps and devices the means over the servers."""
    results.servers = servers
    limits = results.loaded.scenario.limits.given  # type: ignore[union-attr]
    for mode, several in servers.items():
        each = [_serving_numbers(one, closed=False)[0] for one in several if one.deliveries]
        results.modes[mode] = (
            mean_of(each)
            | {"tokens_per_s": round(tokens_per_s(several), 3), "requests_each": [len(one.served) for one in several]}
            | Latencies.of(*several).as_json(limits)
            | load_metrics(*several)
        )
    compare(results)


def run_all(
    loaded: LoadedScenario,
    seed: int = 0,
    progress: Progress = lambda _: None,
    machine: MachineName = "auto",
    replications: int | None = None,
) -> Results:
    """Simulate every mode of a scenario, then ask why the last one gains; ``progress`` is told what is being done.

    A run of more than ``SHORT`` open requests keeps no spans. A stochastic one that is shorter is replicated
    ``REPLICATIONS`` times unless told otherwise.
    """
    short = is_short(loaded.scenario)
    if replications is None:
        replications = REPLICATIONS if short and is_stochastic(loaded.scenario) else 1
    results = predict_modes(loaded, seed, progress, machine, spans=short)
    for draw in range(1, replications):

        def told(what: str, draw: int = draw) -> None:
            progress(f"draw {draw + 1} of {replications}, {what}")

        results.add(predict_modes(loaded, seed + draw, told, machine, spans=short))
    compare(results)
    scenario = loaded.scenario
    if isinstance(scenario, WithoutServer):
        return results
    if scenario.workload.batch is None:
        busy = {mode: found["device_busy"] for mode, found in results.modes.items()}
        results.reasons = reasons(results.timelines, busy)
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


def is_short(scenario: Scenario) -> bool:
    """Whether a run is short enough to keep its spans, and to be repeated: all but those of many open requests."""
    if isinstance(scenario, WithoutServer) or scenario.workload.batch is not None:
        return True
    return scenario.workload.requests is not None and scenario.workload.requests <= SHORT


def is_stochastic(scenario: Scenario) -> bool:
    """Whether another seed gives the clients of a server that is not a closed batch another run."""
    if isinstance(scenario, WithoutServer) or scenario.workload.batch is not None:
        return False
    workload = scenario.workload
    drawn = workload.trace is None and not (
        isinstance(workload.context, int) and isinstance(workload.output_tokens, int)
    )
    random = workload.rate is not None and workload.arrivals != "constant"
    return drawn or random or scenario.host.jitter or workload.stop_share > 0 or workload.spread > 0


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
    for mode, repeats in runs.items():
        if isinstance(scenario, WithoutServer):
            key, found = "total_us", [_program_numbers(t) for t in repeats]
        else:
            key, found = "step_us", [_serving_numbers(t, closed=closed) for t in repeats]
        order = sorted(range(len(found)), key=lambda i: found[i][0][key])
        middle = order[(len(order) - 1) // 2]
        numbers, results.windows[mode] = found[middle]
        results.timelines[mode] = repeats[middle]
        if measured is not None:
            times = [numbers[key] for numbers, _ in found]
            numbers |= {"noise_us": round(noise(times), 3), "repeats_us": times}
        if isinstance(scenario, Serving) and not closed:
            latencies = Latencies.of(repeats[middle])
            numbers |= latencies.as_json(scenario.limits.given) | load_metrics(repeats[middle])
        results.modes[mode] = numbers
    compare(results)
    return results


def compare(results: Results) -> None:
    """Say how many times faster each mode is than the first serial one, and by which number."""
    scenario, modes = results.loaded.scenario, results.modes
    base = "serial-eager" if "serial-eager" in modes else next(iter(modes))
    if isinstance(scenario, WithoutServer):
        results.speedup_of, base, key = "total time", next(iter(modes)), "total_us"
    elif scenario.workload.batch is not None:
        results.speedup_of, key = "step time", "step_us"
    elif any(numbers["saturated"] for numbers in modes.values()):
        results.speedup_of, key = "throughput (saturated)", "tokens_per_s"
    elif any(numbers["tpot_mean_us"] is None for numbers in modes.values()):
        results.speedup_of, key = "mean TTFT (one token each)", "ttft_mean_us"
    else:
        results.speedup_of, key = "mean TPOT (below saturation)", "tpot_mean_us"
    higher = key == "tokens_per_s"
    for mode, numbers in modes.items():
        over, under = (mode, base) if higher else (base, mode)
        numbers["speedup"] = round(modes[over][key] / modes[under][key], 6) if modes[under][key] else 1.0
        if results.replications > 1:
            above, below = ([draw[which][key] for draw in results.draws] for which in (over, under))
            numbers["intervals"]["speedup"] = [round(end, 6) for end in ratio_interval(above, below)]


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
    ranked = any(track.rank for track in timeline.tracks)
    waited = collective_wait(timeline, found.window, found.steps) if ranked else 0.0
    return ({"collective_wait_us": round(waited / 1000, 3)} if ranked else {}) | {
        "step_us": round(found.step_ns / 1000, 3),
        "tokens_per_s": round(found.tokens_per_s, 3),
        "device_busy": round(found.device_busy, 6) if seen else None,
        "exposed_host_us": round(found.exposed_host_ns / 1000, 3) if seen else None,
        "idle": {part: round(found.idle[part] / 1000, 3) for part in IDLE_PARTS} if seen else None,
        "host": _host(timeline, found) if len(timeline.table) else None,
        "launches": round(found.launches, 3) if timeline.launching.any() else None,
        "kernels": round(found.kernels, 3) if seen else None,
        "late_rows": found.late_rows,
    }, found.window


def _host(timeline: Timeline, found: StepMetrics) -> dict[str, float]:
    return {part: round(ns / 1000, 3) for part, ns in host_parts(timeline, found.window, found.steps).items()}


def _program_numbers(timeline: Timeline) -> Numbers:
    found = program_metrics(timeline)
    seen = bool(timeline.on_device.any())
    return {
        "total_us": found.total_ns / 1000,
        "host_us": found.host_ns / 1000,
        "device_us": found.device_ns / 1000 if seen else None,
        "launches": found.launches or None,
        "kernels": found.kernels if seen else None,
    }, (0, found.total_ns)


def _ends(modes: tuple[str, ...]) -> tuple[str | None, str | None]:
    """From which mode to which the gain is explained: the plainest serial one, and the last with more."""
    base = next((m for m in ("serial-eager", "serial-graph") if m in modes), None)
    order = ("overlap-graph", "overlap-eager", "serial-graph") if base == "serial-eager" else ("overlap-graph",)
    target = next((m for m in order if m in modes and m != base), None)
    return base, target
