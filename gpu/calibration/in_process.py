"""What this host costs our engine right now: a few numbers, taken in the process that is about to be measured.

A model of tiny tensors is served by the real scheduler, loops and device, and every launch is timed by its kind: with
caches as cold as between the launches of a real step, which a loop that does one thing over and over would not show.
The kinds of a forward pass come from eager steps that the host bounds; what surrounds it, the scheduler's own work, and
what the first launches of a pass take beyond later ones, from steps behind a sleeping device, for which the host has
waited so long that its caches are a server's. Hundreds of launches leave colder caches to the server than one replay
does: its work around an eager pass takes a third longer, which the pass's first launch is priced with, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from statistics import median

import numpy as np
import torch

from gpu.calibration.regression import non_negative
from gpu.calibration.stopwatch import WORK, Steady, Stopwatch, clock, typical
from gpu.engine.build import TorchRun
from gpu.model.ops import Call
from scenarios.loader import load_scenario
from scenarios.model import ModelShape
from sim.studies.host_numbers import ALIKE
from sim.studies.serving import ServingRun
from sim.timeline.spans import FIELDS, Timeline

FORWARD = ("gemm", "gemm_long", "gemm_bias", "norm", "rope", "attention", "elementwise")
FIRST = "embedding"
"""The first launch of a forward pass, priced with what else an eager step takes the host beyond a replayed one.

That is what the first launch of each other kind takes beyond later ones, and what the server's own work takes longer.
"""
AROUND = ("memcpy", "stream", "event_record", "event_wait", "resolve", "replay", "argmax", "store")
BEGINS = ("stream", "memcpy")
"""Kinds of launch that a step may begin with, on a GPU and on a CPU."""
OF_PROMPTS = ("schedule", "prepare")
"""Work that grows with prompts and their tokens."""
CLIENTS, WAVES, TURNS = 48, 4, 3
LENGTHS = (132, 600, 2700)
"""Lengths of prompts of as many runs: the shorter they are, the more of them share a step."""
APART, PROMPTS_APART, ALONE = "400/s", 48, 1000
"""How fast so many prompts of this length come in a run in which most are alone in their step, between decode steps."""
BOUND = 2
"""How often a run has launched a size before its launches are bound to the buffers of both turns."""
ROWS = (2, 240)
"""Batches between which the scheduler's costs a row are taken."""
LAYERS, STEPS, CONTEXT, DEVICE_US = 16, 16, 1024, 3000
"""A small model's layers, and steps as long, of rows with as many blocks, as those of the models that are served."""
SMALL = {
    "hidden": 256,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 64,
    "intermediate": 8192,  # so long that cuBLAS splits the sum over it, as in every model
    "vocab": 131072,  # so many that torch's argmax takes several launches for them, as in every model
    "qkv_bias": True,
}


@cache
def _run(rows: int) -> TorchRun:
    sets = [
        f"workload.batch={rows}",
        f"workload.context={CONTEXT}",
        f"workload.output_tokens={STEPS}",
        f"engine.buckets=[{rows}]",
    ]
    serving = ServingRun.of(load_scenario("decode-llama-3.1-8b", sets))
    run = TorchRun.of(replace(serving, model=_small(LAYERS if rows == ROWS[0] else 1)), _device())
    run.run("overlap-graph")  # compiles, captures and warms up
    run.run("overlap-eager")
    return run


def _decode() -> tuple[dict[str, int], dict[str, int]]:
    """The numbers of a decode step but for its rows' shares: launches by kind, and the scheduler's work."""
    run = _run(ROWS[0])
    watch = Stopwatch()
    _timed(run, "overlap-eager", watch)
    numbers = {kind: typical(watch.later(kind)) for kind in FORWARD}
    eager, replayed = Stopwatch(device_us=DEVICE_US), Stopwatch(device_us=DEVICE_US)
    around = Steady.of(_timed(run, "overlap-eager", eager)).around(eager, FIRST)
    steps = Steady.of(_timed(run, "overlap-graph", replayed))
    beyond = sum(eager.beyond_later(kind) for kind in (*FORWARD, "kv_write", "combine"))
    longer = around - steps.around(replayed, "replay")
    numbers[FIRST] = typical(eager.times[FIRST]) + max(0, beyond) + max(0, longer)
    return numbers | {kind: typical(replayed.times[kind]) for kind in AROUND}, steps.work(replayed)


def measure() -> dict[str, int]:
    """Nanoseconds by kind of launch (16), and of the scheduler's work, ``..._per_row`` what a row adds.

    ``prepare`` includes filling the step's inputs, ``process`` fetching its tokens and whatever the loop itself takes.
    """
    few, many = ROWS
    numbers, work = _decode()
    watch = Stopwatch(device_us=DEVICE_US)
    of_many = Steady.of(_timed(_run(many), "overlap-graph", watch)).work(watch)
    for name in WORK:
        per_row = max(0, round((of_many[name] - work[name]) / (many - few)))
        numbers[name] = max(0, work[name] - few * per_row)
        numbers[f"{name}_per_row"] = per_row
    return numbers


def measure_prefill() -> dict[str, int]:
    """What only prefill steps cost; not part of ``measure``, whose numbers are few.

    By kind what only they launch, in a model of many layers, and with it what they make of the other launches, which
    are priced as those of decode steps: ``attention_prefill``, once a layer, is a launch of it and what the later
    launches of a layer take beyond decode's; ``index``, once a step, is a launch of it and what the first launches of
    all kinds take beyond later ones, less what a decode step's take. Then what prompts make of the scheduler's work:
    ``..._with_prompts`` in a step that computes any, on top of it ``..._per_prompt`` each and ``..._per_token`` each of
    its tokens, from steps of one prompt, between steps that decode, to dozens, all of sizes that were launched before:
    binding the launches of a new size is left out; and what each request takes to receive.
    """
    numbers = _launches(_decode()[0])
    rows: list[tuple[int, int, dict[str, int]]] = []
    received = []
    for length in (None, *LENGTHS):
        turns = [_of_prompts(_prefilling(length)) for _ in range(TURNS)]
        rows += _medians(step for _, steps in turns for step in steps)
        if length is not None:
            received.append(median(took for took, _ in turns))
    numbers["receive_per_request"] = round(median(received) / CLIENTS)
    for name in OF_PROMPTS:
        columns = np.array([(1, prompts, tokens) for prompts, tokens, _ in rows], float)
        found = non_negative(columns, np.array([work[name] for *_, work in rows], float)).tolist()
        parts = zip(("with_prompts", "per_prompt", "per_token"), found, strict=True)
        numbers |= {f"{name}_{of}": round(ns) for of, ns in parts}
    return numbers


def _launches(decode: dict[str, int]) -> dict[str, int]:
    """The two kinds that only prefill steps launch, and in them what the others take beyond ``decode``'s numbers.

    As those of a decode step, first launches are taken behind a sleeping device: how cold they are depends on how long
    the host has waited.
    """
    watch = Stopwatch(device_us=DEVICE_US)
    _timed(_prefilling(None), "serial-eager", watch)
    steps = [step for step in watch.steps() if "attention_prefill" in step]
    a_layer = {kind: len(times) // LAYERS for kind, times in steps[0].items() if len(times) >= LAYERS}
    later = {kind: typical([ns for step in steps for ns in step[kind][1:]]) for kind in a_layer}
    first = {kind: typical([step[kind][0] for step in steps]) for kind in (*a_layer, FIRST, "index")}
    alike = {kind: decode[ALIKE.get(kind, kind)] for kind in a_layer if kind != "attention_prefill"}
    beyond = sum(a_layer[kind] * (later[kind] - ns) for kind, ns in alike.items())
    cold = sum(first[kind] - later[kind] for kind in a_layer) + first[FIRST] - decode[FIRST]
    return {
        "attention_prefill": max(0, later["attention_prefill"] + beyond),
        "index": max(0, first["index"] + cold),
    }


def _medians(steps: Iterable[tuple[int, int, dict[str, int]]]) -> Iterator[tuple[int, int, dict[str, int]]]:
    """Each of these steps with the medians of all of its size."""
    sizes = defaultdict(list)
    for prompts, tokens, work in steps:
        sizes[prompts, tokens].append(work)
    for (prompts, tokens), works in sizes.items():
        usual = {name: round(median(work[name] for work in works)) for name in OF_PROMPTS}
        yield from [(prompts, tokens, usual)] * len(works)


def _of_prompts(run: TorchRun) -> tuple[int, list[tuple[int, int, dict[str, int]]]]:
    """What all clients' requests took to receive, and of each prefill step its prompts, tokens and the host's work.

    Preparing a step goes on until its first launch. Steps whose launches were bound for them are left out.
    """
    begun: list[int] = []

    def wrap(kind: str, call: Call) -> Call:
        if kind not in BEGINS:
            return call

        def stamped() -> None:
            begun.append(clock())
            call()

        return stamped

    run.wrap = wrap
    timeline = run.run("overlap-eager")
    assert run.inputs is not None
    work = {name: _by_step(timeline, name) for name in OF_PROMPTS}
    first = np.array(begun) - timeline.origin
    for step, start in _starts(timeline, "launch").items():
        work["prepare"][step] += int(first[np.searchsorted(first, start)]) - start
    steps = []
    met: Counter[tuple[int, int]] = Counter()
    for delivery, members in zip(timeline.deliveries, run.inputs.steps, strict=True):
        if delivery.prefill:
            size = len(members), sum(request.context for request in members if request is not None)
            if met[size] >= BOUND:
                steps.append((*size, {name: found[delivery.step] for name, found in work.items()}))
            met[size] += 1
    receive = timeline.table[timeline.column("name") == timeline.names.index("receive")][0]
    return int(receive[FIELDS.index("end")] - receive[FIELDS.index("start")]), steps


def _starts(timeline: Timeline, name: str) -> dict[int, int]:
    """When the span of this name began, by the step that it belongs to."""
    rows = timeline.table[timeline.column("name") == timeline.names.index(name)]
    start, step = FIELDS.index("start"), FIELDS.index("step")
    return {row[step]: row[start] for row in rows.tolist()}


def _by_step(timeline: Timeline, name: str) -> Counter[int]:
    """How long spans of this name took, by the step that they belong to."""
    rows = timeline.table[timeline.column("name") == timeline.names.index(name)]
    start, end, step = (FIELDS.index(field) for field in ("start", "end", "step"))
    found: Counter[int] = Counter()
    for row in rows.tolist():
        found[row[step]] += row[end] - row[start]
    return found


@cache
def _prefilling(length: int | None) -> TorchRun:
    """Clients that all ask at once, again and again, so that every wave computes the same prompts in the same steps.

    Without a length, prompts that come one by one, to a model of many layers.
    """
    sets = [f"workload.context={length or ALONE}", f"engine.buckets=[{CLIENTS}]"]
    if length is None:
        sets += [f"workload.rate={APART}", "workload.arrivals=constant", f"workload.requests={PROMPTS_APART}"]
        name, sets = "open-qwen3-0.6b", [*sets, "workload.output_tokens=24"]
    else:
        sets += [f"workload.clients={CLIENTS}", f"workload.requests={WAVES * CLIENTS}", "workload.output_tokens=2"]
        name = "limits-few-clients"
    serving = ServingRun.of(load_scenario(name, [*sets, "engine.preset=lean"]))
    run = TorchRun.of(replace(serving, model=_small(1 if length else LAYERS)), _device())
    run.run("overlap-eager")
    return run


def _small(layers: int) -> ModelShape:
    return ModelShape.model_validate({"name": "small", "layers": layers, **SMALL})


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _timed(run: TorchRun, mode: str, watch: Stopwatch) -> Timeline:
    run.wrap = watch.wrap
    return run.run(mode)
