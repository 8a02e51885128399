"""What this host costs our engine right now: a few numbers, taken in the process that is about to be measured.

A model of tiny tensors is served by the real scheduler, loops and device, and every launch is timed by its kind: with
caches as cold as between the launches of a real step, which a loop that does one thing over and over would not show.
The kinds of a forward pass come from eager steps that the host bounds; what surrounds it, the scheduler's own work, and
what the first launches of a pass take beyond later ones, from steps behind a sleeping device, for which the host has
waited so long that its caches are a server's.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from statistics import fmean, median

import numpy as np
import torch

from gpu.calibration.clock import cycles, sleep
from gpu.calibration.regression import non_negative
from gpu.engine.build import TorchRun
from gpu.model.ops import Call
from scenarios.loader import load_scenario
from scenarios.model import ModelShape
from sim.studies.host_numbers import ALIKE
from sim.studies.serving import ServingRun
from sim.timeline.metrics import steady
from sim.timeline.spans import FIELDS, Timeline

FORWARD = ("gemm", "gemm_long", "gemm_bias", "norm", "rope", "attention", "elementwise")
FIRST = "embedding"
"""The first launch of a forward pass, which is priced with what the first of each other kind take beyond later ones."""
AROUND = ("memcpy", "stream", "event_record", "event_wait", "resolve", "replay", "argmax", "store")
WORK = ("receive", "schedule", "prepare", "process")
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
clock: Callable[[], int] = time.perf_counter_ns


class Stopwatch:
    """Times every launch by its kind, in nanoseconds; the clock's own time is taken off.

    With ``device_us`` the device is given that much to do in every step before it samples, a launch of kind "sleep".
    """

    def __init__(self, *, device_us: float = 0.0) -> None:
        self.times: dict[str, list[int]] = defaultdict(list)
        self.launches: list[tuple[int, int, str]] = []
        self._own = min(_stamped(int) for _ in range(200))
        self._busy: Call | None = None
        self._watching = min(self._watched() for _ in range(5))
        self.times.clear()
        self.launches.clear()
        if device_us:
            self._busy = self.wrap("sleep", partial(sleep, cycles(device_us)))

    def wrap(self, kind: str, call: Call) -> Call:
        """The same launch, timed."""
        times, launches, own = self.times[kind], self.launches, self._own
        busy = self._busy if kind == "argmax" else None

        def timed() -> None:
            if busy is not None:
                busy()
            start = clock()
            call()
            took = clock() - start - own
            times.append(took)
            launches.append((start, took, kind))

        return timed

    def _watched(self, calls: int = 200) -> int:
        """What being watched adds to a call."""
        nothing: Call = int
        timed = self.wrap("nothing", nothing)
        start = clock()
        for _ in range(calls):
            timed()
        watched = clock()
        for _ in range(calls):
            nothing()
        return max(0, round((2 * watched - start - clock()) / calls))

    def besides(self, spans: Iterable[tuple[int, int]]) -> list[int]:
        """What each of these spans of the clock (ns) took besides the launches in it, and besides watching them.

        Both are of the same step: a host that a neighbour slows down does not pass for work between the launches, as
        it would in the difference of two runs.
        """
        starts = np.array([start for start, _, _ in self.launches])
        sums = np.concatenate(([0], np.cumsum([took for _, took, _ in self.launches])))
        found = []
        for start, end in spans:
            first, last = np.searchsorted(starts, (start, end)).tolist()
            taken = int(sums[last] - sums[first]) + (last - first) * self._watching
            found.append(max(0, end - start - taken))
        return found

    def steps(self) -> list[dict[str, list[int]]]:
        """The launches of every step up to its sampling, by kind, each in order."""
        steps: list[dict[str, list[int]]] = [defaultdict(list)]
        for _, took, kind in self.launches:
            steps[-1][kind].append(took)
            if kind == "argmax":
                steps.append(defaultdict(list))
        return steps[:-1]

    def later(self, kind: str) -> list[int]:
        """The launches of a kind but for the first in each step; all of one that a step launches once."""
        times, a_step = self.times[kind], self._in_a_step(kind)
        return [ns for i, ns in enumerate(times) if i % a_step] if a_step > 1 else times

    def beyond_later(self, kind: str) -> int:
        """What the first launch of a kind takes beyond the later ones of its step; 0 of one that has none."""
        times, a_step = self.times[kind], self._in_a_step(kind)
        return typical(times[::a_step]) - typical(self.later(kind)) if a_step > 1 else 0

    def _in_a_step(self, kind: str) -> int:
        return len(self.times[kind]) // len(self.times["argmax"])


def _stamped(call: Call) -> int:
    start = clock()
    call()
    return clock() - start


def typical(times: list[int]) -> int:
    """The mean without the slowest hundredth, which are interruptions."""
    kept = sorted(times)[: max(1, len(times) - max(1, len(times) // 100))]
    return round(fmean(kept))


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


def _forward() -> dict[str, int]:
    """What the launches of a decode step's forward pass take, the first of each kind in a number of their own."""
    watch = Stopwatch()
    _timed(_run(ROWS[0]), "overlap-eager", watch)
    numbers = {kind: typical(watch.later(kind)) for kind in FORWARD}
    watch = Stopwatch(device_us=DEVICE_US)
    _timed(_run(ROWS[0]), "serial-eager", watch)
    beyond = sum(watch.beyond_later(kind) for kind in (*FORWARD, "kv_write", "combine"))
    return numbers | {FIRST: typical(watch.times[FIRST]) + max(0, beyond)}


def measure() -> dict[str, int]:
    """Nanoseconds by kind of launch (16), and of the scheduler's work, ``..._per_row`` what a row adds.

    ``prepare`` includes filling the step's inputs, ``process`` fetching its tokens and whatever the loop itself takes.
    """
    numbers = _forward()
    work = []
    for rows in ROWS:
        watch = Stopwatch(device_us=DEVICE_US)
        work.append(_work(_timed(_run(rows), "overlap-graph", watch), watch))
        if rows == ROWS[0]:
            numbers |= {kind: typical(watch.times[kind]) for kind in AROUND}
    few, many = ROWS
    for name in WORK:
        per_row = max(0, round((work[1][name] - work[0][name]) / (many - few)))
        numbers[name] = max(0, work[0][name] - few * per_row)
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
    numbers = _launches(_forward())
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
    """The two kinds that only prefill steps launch, and in them what the others take beyond ``decode``'s numbers."""
    watch = Stopwatch()
    _timed(_prefilling(None), "overlap-eager", watch)
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


def _work(timeline: Timeline, watch: Stopwatch) -> dict[str, int]:
    """The scheduler's work in a steady step: all of it that is neither a launch nor a wait."""
    bounds = steady(timeline.deliveries)
    start, end, steps = bounds[0].time, bounds[-1].time, len(bounds) - 1
    names = (*WORK, "launch", "cudaEventSynchronize")
    spans = {name: _spans(timeline, name, start, end) for name in names}
    found = {name: typical([e - b for b, e in spans[name]]) for name in WORK}
    origin = timeline.origin
    found["prepare"] += round(median(watch.besides((origin + b, origin + e) for b, e in spans["launch"])))
    between = (end - start - sum(e - b for every in spans.values() for b, e in every)) // steps
    found["process"] += typical(watch.times["fetch"]) + max(0, between)
    return found


def _spans(timeline: Timeline, name: str, start: int, end: int) -> list[tuple[int, int]]:
    """Beginnings and ends of the spans of this name that lie within a time."""
    rows = timeline.table[timeline.column("name") == timeline.names.index(name)]
    begins, ends = rows[:, FIELDS.index("start")], rows[:, FIELDS.index("end")]
    inside = (begins >= start) & (ends <= end)
    return [(int(begin), int(stop)) for begin, stop in zip(begins[inside], ends[inside], strict=True)]
