"""Claims about CUDA graphs: recorded once, played many times, and why that is fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import median

from sim.studies.chapter.claim import Claim, Finding, Verdict
from sim.studies.chapter.lab import Lab, models_by_size
from sim.studies.chapter.measured_runs import HIERARCHY, served
from sim.studies.chapter.words import listed, on_that_host
from sim.studies.serving import ServingRun
from sim.studies.step_prices import StepPrices
from sim.studies.table import time
from sim.studies.why import step_time

SECTION = "CUDA graphs: recording once, playing many"
INSTANTIATED_A_NODE = 1_000
"""Nanoseconds that capturing takes a kernel node on top of an engine's call that launches it: recording it takes less
than submitting it, instantiating it more than that.

Median of fourteen runs of captures of three models' buckets on an H100 (driver 580.159, torch 2.11) less the launches
that are predicted, a node: 0.6 to 4.4 us, the upper half where the host was slow meanwhile. Bare chains of torch's
products and pointwise kernels on another H100 took 0.8 us a node less than their launches (-1.7 to 1.8).
"""
REASONS = ("launches", "gaps", "latency")
SHORT = ("workload.output_tokens=24", "engine.modes=serial-eager,serial-graph")


@dataclass(frozen=True, slots=True)
class GraphCost:
    """What a graph costs before it saves anything, and what each replay saves; nanoseconds."""

    capture: int
    first_replay: int
    saved: Fraction

    @property
    def replays(self) -> int | None:
        """Replays until it has paid for itself; None when it never does."""
        return None if self.saved <= 0 else -(-(self.capture + self.first_replay) // self.saved)


def graph_cost(run: ServingRun) -> GraphCost:
    """The graph of a serial closed batch's bucket."""
    batch = run.scenario.workload.batch
    assert batch is not None
    prices = StepPrices(run, "serial-eager", run.scenario.workload.longest_context)
    nodes = prices.nodes()
    constants = run.constants
    return GraphCost(
        capture=prices.parts(batch, None).launches + INSTANTIATED_A_NODE * nodes,
        first_replay=constants.first_replay + constants.first_replay_per_1000_nodes * nodes // 1000,
        saved=step_time(run, "serial-eager") - step_time(run, "serial-graph"),
    )


@dataclass(frozen=True, slots=True)
class GainSplit:
    """What a graph saves of a serial step by reason, in nanoseconds; the reasons add up to the gain exactly."""

    gain: Fraction
    launches: Fraction
    gaps: Fraction
    latency: Fraction


def gain_split(run: ServingRun) -> GainSplit:
    """Take the reasons away one by one.

    *launches*: an eager step against a graph with a stream's gaps, both on a device that starts what is launched at
    once; *gaps*: the graph's own gaps; *latency*: what starting late costs the eager step, less the graph.
    """
    prompt = replace(run.constants, launch_latency=0, graph_launch_latency=0, graph_launch_latency_per_1000_nodes=0)
    eager, graph = step_time(run, "serial-eager"), step_time(run, "serial-graph")
    eager_at_once = step_time(replace(run, constants=prompt), "serial-eager")
    graph_at_once = step_time(replace(run, constants=prompt), "serial-graph")
    streams_gaps = replace(prompt, graph_gap=prompt.stream_gap)
    wide_at_once = step_time(replace(run, constants=streams_gaps), "serial-graph")
    return GainSplit(
        gain=eager - graph,
        launches=eager_at_once - wide_at_once,
        gaps=wide_at_once - graph_at_once,
        latency=(eager - eager_at_once) - (graph - graph_at_once),
    )


def _ends(values: Sequence[float]) -> list[float]:
    """The least and the largest of some values, once if they are one."""
    return list(dict.fromkeys((min(values), max(values))))


def _record_once(lab: Lab) -> Finding:
    costs = {m: graph_cost(lab.run("decode-llama-3.1-8b", f"model={m}", *SHORT)) for m in models_by_size()}
    told = {m: f"{c.replays} replays ({time(c.capture / 1000)} to capture)" for m, c in costs.items()}
    measured, errors = {}, []
    for model in costs:
        runs = lab.captures("decode-llama-3.1-8b", f"model={model}")
        if runs:
            measured[model] = " to ".join(time(ns / 1000) for ns in _ends([median(c.capture_ns) for c, _ in runs]))
        for captures, numbers in runs:
            here = lab.run("decode-llama-3.1-8b", f"model={model}", *SHORT).with_host_numbers(numbers)
            errors.append(abs(graph_cost(here).capture / median(captures.capture_ns) - 1))
    return Finding(
        predicted=f"a graph at 16 rows has paid for its capture and first replay after: {listed(told)}",
        measured=f"to capture one: {listed(measured)}" if measured else "",
        errors=tuple(errors),
        verdict=Verdict.of([c.replays is not None and c.replays < 1000 for c in costs.values()]),
        because="capturing calls every operation once and makes a node of it; requests decode hundreds of steps",
        numbers={f"{m}_replays": float(c.replays or 0) for m, c in costs.items()},
    )


def _one_launch(lab: Lab) -> Finding:
    modes, measured = lab.modes("scheduling-overhead", *served(16)), lab.measured("scheduling-overhead", *served(16))
    eager, graph = modes["serial-eager"], modes["serial-graph"]
    host = {mode: found.host_us["launch"] for mode, found in measured.modes.items()} if measured else {}
    return Finding(
        measured=f"{time(host['serial-graph'])} instead of {time(host['serial-eager'])}" if host else "",
        predicted=f"{eager['launches']:.0f} host calls a step become {graph['launches']:.0f}, for as many kernels "
        f"({eager['kernels']:.0f}); the host launches for {time(graph['host']['launch'])} instead of "
        f"{time(eager['host']['launch'])}",
        verdict=Verdict.of(
            {"one launch": graph["launches"] <= 1, "many fewer": graph["launches"] < eager["launches"] / 10}
        ),
        because="the pass is one launch; inputs, sampling and the copy back are launched beside it",
        numbers={"eager_launches": eager["launches"], "graph_launches": graph["launches"]},
    )


def _three_reasons(lab: Lab) -> Finding:
    splits = {m: gain_split(lab.run("decode-llama-3.1-8b", f"model={m}", *SHORT)) for m in models_by_size()}
    told = {
        m: f"{time(float(s.gain) / 1000)} = launches {float(s.launches) / 1000:.0f} + gaps {float(s.gaps) / 1000:.0f} "
        f"+ latency {float(s.latency) / 1000:.0f} us"
        for m, s in splits.items()
    }
    measured, errors = {}, []
    for model in ("qwen3-0.6b", "llama-3.1-8b"):
        seen = lab.measured(f"decode-{model}", *HIERARCHY)
        if seen is not None:
            modes = lab.modes(f"decode-{model}", *HIERARCHY)
            saved = seen.modes["serial-eager"].us - seen.modes["serial-graph"].us
            measured[model] = time(saved)
            eager, graph = (on_that_host(modes[m]["step_us"], seen.modes[m]) for m in ("serial-eager", "serial-graph"))
            errors.append(abs((eager - graph) / saved - 1))
    return Finding(
        measured=f"saved of a step: {listed(measured)}" if measured else "",
        errors=tuple(errors),
        predicted="saved of a step at 16 rows: " + "; ".join(f"{m} {words}" for m, words in told.items()),
        verdict=Verdict.of([getattr(s, reason) > s.gain / 100 for s in splits.values() for reason in REASONS]),
        because="small models save launches, large ones gaps: a launch costs no latency where kernels queue up",
        numbers={f"{m}_{r}_us": float(getattr(s, r)) / 1000 for m, s in splits.items() for r in ("gain", *REASONS)},
    )  # fmt: skip


CLAIMS = (
    Claim(
        "record-once", SECTION, "Recorded once, a graph is played many times",
        "overlapsim breakdown decode-llama-3.1-8b --set engine.modes=serial-eager,serial-graph", _record_once,
        measured=True,
    ),
    Claim(
        "one-launch", SECTION, "One launch replaces many",
        "overlapsim breakdown scheduling-overhead --set engine.modes=serial-eager,serial-graph", _one_launch,
        measured=True,
    ),
    Claim(
        "three-reasons", SECTION, "It is fast for three reasons: one launch, an optimised sequence, no latencies",
        "overlapsim run decode-qwen3-0.6b", _three_reasons, measured=True,
    ),
)  # fmt: skip
