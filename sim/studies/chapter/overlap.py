"""Claims about overlap scheduling, the FutureMap, and combining it with graphs."""

from __future__ import annotations

import numpy as np

from sim.studies.chapter.claim import Claim, Finding, Verdict
from sim.studies.chapter.lab import Lab
from sim.studies.chapter.measured_runs import CHAPTERS_LOOP, HIERARCHY
from sim.studies.chapter.phases import PhaseShare, by_phase
from sim.studies.chapter.slots import five_steps, overrun
from sim.studies.chapter.words import beside, listed
from sim.studies.table import time

OVERLAP, FUTURES = "Zero-overhead scheduling: overlap", "FutureMap: speculative scheduling"
LOOP, COMBINED = "The complete overlap scheduler", "Combining CUDA graphs with overlap scheduling"
NEAR_ZERO = 0.01
MIXED = ("workload.rate=30/s", "workload.requests=24", "workload.output_tokens=16")
"""Prompts of 1024 tokens that arrive while others decode."""


def _overlap_hides(lab: Lab) -> Finding:
    exposed, gains = {}, {}
    for model in ("qwen3-0.6b", "llama-3.1-8b"):
        modes = lab.modes("decode-llama-3.1-8b", "workload.output_tokens=24", f"model={model}")
        serial, overlap = modes["serial-graph"], modes["overlap-graph"]
        exposed[model] = serial["exposed_host_us"], overlap["exposed_host_us"]
        gains[model] = serial["step_us"] / overlap["step_us"]
    told = {m: f"{time(a)} exposed becomes {time(b)}, {gains[m]:.2f}x" for m, (a, b) in exposed.items()}
    seen = {}
    errors: tuple[float, ...] = ()
    for model in exposed:
        measured = lab.measured(f"decode-{model}", *HIERARCHY)
        if measured is not None:
            modes = lab.modes(f"decode-{model}", *HIERARCHY)
            steps = {mode: modes[mode]["step_us"] for mode in ("serial-graph", "overlap-graph")}
            words, off = beside(steps, measured)
            serial_us, overlap_us = (measured.modes[mode].us for mode in steps)
            seen[model] = f"{words}, {serial_us / overlap_us:.2f}x"
            errors += off
    return Finding(
        measured="; ".join(f"{m}: {words}" for m, words in seen.items()),
        errors=errors,
        predicted="with graphs, " + "; ".join(f"{m}: {words}" for m, words in told.items()),
        verdict=Verdict.of([after < NEAR_ZERO * before for before, after in exposed.values()]),
        because="schedule and prepare of N+1 and process of N-1 fit behind the device's N",
        numbers={f"{m}_gain": gain for m, gain in gains.items()},
    )


def _five_steps_of_slots(lab: Lab) -> Finding:
    del lab
    lines, refused = tuple(five_steps()), overrun()
    return Finding(
        predicted="two batches in flight pass tokens by slots; a third in a ring for two is refused",
        verdict=Verdict.of([len(lines) == 6, refused is not None]),
        because="the order of a stream makes the resolve kernel see what the store kernel wrote: no host waits",
        numbers={"lines": len(lines)},
        shown=(*lines, f"a ring of 4 for three batches of 2 in flight: {refused}"),
    )


def _what_slots_cost(lab: Lab) -> Finding:
    run = lab.run("decode-qwen3-0.6b", "workload.output_tokens=24")
    kernels = run.timeline("overlap-graph")
    names = kernels.column("name")
    found = {}
    for name in ("resolve", "store"):
        mine = (names == kernels.names.index(name)) & kernels.on_device
        found[name] = float(np.median((kernels.column("end") - kernels.column("start"))[mine])) / 1000
    step = lab.modes("decode-qwen3-0.6b", "workload.output_tokens=24")["overlap-graph"]["step_us"]
    return Finding(
        predicted=f"0.6B at 16 rows: {listed({name: time(us) for name, us in found.items()})} of a {time(step)} step",
        verdict=Verdict.of([sum(found.values()) < NEAR_ZERO * step]),
        because="two small kernels on the forward stream are all that not knowing the tokens costs",
        numbers={f"{name}_us": us for name, us in found.items()} | {"step_us": step},
    )


def _loop_as_it_stands(lab: Lab) -> Finding:
    run = lab.run("decode-qwen3-0.6b", "workload.output_tokens=24", "engine.preset=chapter", "engine.buckets=[1]")
    timeline = run.timeline("overlap-graph")
    schedules = int((timeline.column("name") == timeline.names.index("schedule")).sum())
    steps = len(timeline.deliveries)
    return Finding(
        predicted=f"{steps} steps take {schedules} turns of the loop: {schedules - steps} finds nothing to schedule "
        "and only processes the last result",
        verdict=Verdict.of([schedules == steps + 1]),
        because="a result is processed a turn late, so the last one needs a turn of its own",
        numbers={"steps": steps, "turns": schedules},
    )


def phases_of(lab: Lab, preset: str, mode: str) -> dict[str, PhaseShare]:
    """Exposed host time by phase of an open loop of the 8B model."""
    return by_phase(lab.run("decode-llama-3.1-8b", f"engine.preset={preset}", *MIXED).timeline(mode))


def _by_phase(lab: Lab) -> Finding:
    runs = {
        "serial": phases_of(lab, "lean", "serial-eager"),
        "the chapter's": phases_of(lab, "chapter", "overlap-graph"),
        "overlap around both": phases_of(lab, "lean", "overlap-graph"),
    }
    told = {
        name: listed({phase: f"{time(part.exposed / 1000)} ({part.share:.1%})" for phase, part in found.items()})
        for name, found in runs.items()
    }
    serial, chapters = runs["serial"], runs["the chapter's"]
    return Finding(
        predicted="; ".join(f"{name}: {words}" for name, words in told.items()) + " a step exposed",
        verdict=Verdict.of([
            chapters["decode"].share < NEAR_ZERO,
            0 < chapters["prefill"].exposed < serial["prefill"].exposed,
        ]),
        because="a replay that is waited for exposes the scheduler; prefill has no decode beside it to hide behind",
        numbers={f"{name}_{phase}_us": p.exposed / 1000 for name, found in runs.items() for phase, p in found.items()},
    )  # fmt: skip


def _combined(lab: Lab) -> Finding:
    steps = {}
    for name, preset, mode in (
        ("graphs alone", "lean", "serial-graph"),
        ("the chapter's", "chapter", "overlap-graph"),
        ("overlap around everything", "lean", "overlap-graph"),
    ):
        modes = lab.modes(
            "decode-qwen3-0.6b", "workload.output_tokens=24", f"engine.preset={preset}", f"engine.modes={mode}"
        )
        steps[name] = modes[mode]["step_us"]
    everything = steps["overlap around everything"]
    names = {"serial-graph": "graphs alone", "overlap-graph": "the chapter's"}
    modes = lab.modes("decode-qwen3-0.6b", *CHAPTERS_LOOP)
    words, errors = beside(
        {mode: modes[mode]["step_us"] for mode in names}, lab.measured("decode-qwen3-0.6b", *CHAPTERS_LOOP)
    )
    for mode, name in names.items():
        words = words.replace(mode, name)
    return Finding(
        measured=words,
        errors=errors,
        predicted=f"0.6B decode at 16 rows: {listed({name: time(us) for name, us in steps.items()})}",
        verdict=Verdict.of({
            "better than graphs alone": steps["the chapter's"] < steps["graphs alone"] / 1.01,
            "the best": steps["the chapter's"] <= everything * 1.01,
        }),
        because="overlap for prefill only leaves decode serial; engines overlap both and replay within",
        numbers=steps,
    )  # fmt: skip


CLAIMS = (
    Claim(
        "overlap-hides", OVERLAP, "Scheduling batch N+1 while N computes hides the scheduler",
        "overlapsim run decode-qwen3-0.6b", _overlap_hides, measured=True,
    ),
    Claim(
        "five-steps-of-slots", FUTURES, "Slots are reserved, named, written, resolved and read, and nobody waits",
        "overlapsim chapter five-steps-of-slots --shown", _five_steps_of_slots,
    ),
    Claim(
        "what-slots-cost", FUTURES, "A resolve kernel substitutes references on the GPU",
        "overlapsim breakdown decode-qwen3-0.6b --set engine.modes=overlap-graph", _what_slots_cost,
    ),
    Claim(
        "loop-as-it-stands", LOOP, "The loop launches the next batch, then processes the previous one",
        "overlapsim breakdown decode-qwen3-0.6b --set engine.preset=chapter --set engine.modes=overlap-graph",
        _loop_as_it_stands,
    ),
    Claim(
        "combined", COMBINED, "Graphs for decode and overlap for prefill are the ultimate combination",
        "overlapsim breakdown decode-qwen3-0.6b --vary engine.preset=lean,chapter --set engine.modes=overlap-graph",
        _combined, measured=True,
    ),
    Claim(
        "by-phase", COMBINED, "Decode gets near-zero overhead, prefill reduced overhead",
        "overlapsim breakdown decode-llama-3.1-8b --vary engine.preset=lean,chapter --set engine.modes=overlap-graph "
        "--set workload.rate=30/s --set workload.requests=24 --set workload.output_tokens=16",
        _by_phase,
    ),
)  # fmt: skip
