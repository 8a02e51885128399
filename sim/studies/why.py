"""Why a mode gains: factors that multiply to the gain, and where the gain ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from sim.studies.serving import ServingRun
from sim.timeline.metrics import pace

PAYS = Fraction(101, 100)  # a gain below one per cent is no gain that anybody would change an engine for
LARGEST_BATCH = 512
SHORT_OUTPUT = 12  # steps that break-even runs decode: enough for a steady step, cheap enough to run dozens of


@dataclass(frozen=True, slots=True)
class Factor:
    """One cause and how many times faster it makes a step; below 1 it costs."""

    cause: str
    gain: Fraction


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The gain of ``target`` over ``base`` as a product of factors, exactly."""

    base: str
    target: str
    gain: Fraction
    factors: tuple[Factor, ...]


def step_time(run: ServingRun, mode: str) -> Fraction:
    """The mean steady step in nanoseconds, exact."""
    found = pace(run.timeline(mode, spans=False))
    start, end = found.window
    return Fraction(end - start, found.steps)


def waterfall(run: ServingRun, base: str, target: str) -> Waterfall:
    """Turn ``base`` into ``target`` one mechanism at a time; each factor is a ratio of two simulated steps.

    The order is: launch a graph in place of its kernels, with the gaps that a stream has and a bucket of exactly the
    batch's size; give it a graph's gaps; give it the captured buckets; hide the host's work behind the device, masks
    among it, as if sampling did not need them; pay for the FutureMap's kernels; have sampling wait for the masks; run
    the preset's own loop, first as if its threads passed their lock on in no time. A factor depends on what came before
    it, the product does not. Raises ``ValueError`` for a way that leads from overlap or graphs back.
    """
    stages: list[tuple[str, Fraction]] = [("", step_time(run, base))]
    mode = base
    if base.endswith("eager") and target.endswith("graph"):
        mode = base.replace("eager", "graph")
        if run.runs_eager:
            stages.append(("graphs that no bucket fits", step_time(run, mode)))
        else:
            same_gaps = replace(run.constants, graph_gap=run.constants.stream_gap)
            exact = replace(run, buckets=_exact(run))
            stages.append(("fewer launches", step_time(replace(exact, constants=same_gaps), mode)))
            stages.append(("smaller gaps", step_time(exact, mode)))
            if _exact(run) != run.buckets:
                stages.append(("padding to the bucket", step_time(run, mode)))
    if base.startswith("serial") and target.startswith("overlap"):
        mode = mode.replace("serial", "overlap")
        stages += _overlapped(run, mode)
    if mode != target:
        raise ValueError(f"no waterfall leads from {base} to {target}")
    factors = tuple(Factor(cause, before / after) for (_, before), (cause, after) in pairwise(stages))
    return Waterfall(base, target, stages[0][1] / stages[-1][1], factors)


LOOPS = {
    "graphs-or-overlap": "graphs that are waited for",
    "late-sampling": "sampling launched late",
    "multi-step": "rounds of steps",
    "forward-thread": "a second thread that launches",
    "output-thread": "a second thread for results",
}
"""What the loop of a preset does to a step that otherwise runs ahead."""


def _overlapped(run: ServingRun, mode: str) -> list[tuple[str, Fraction]]:
    """From one thread that runs ahead, with nothing to compute before the sampling, to the preset's own overlap."""
    engine = run.engine
    ahead = engine.overlap.model_copy(update={"loop": "run-ahead"})
    plain = engine.host.model_copy(update={"mask": None})
    simple = replace(run, engine=engine.model_copy(update={"overlap": ahead, "host": plain}))
    stages = [
        ("hidden host work", step_time(replace(simple, free_slots=True), mode)),
        ("FutureMap kernels", step_time(simple, mode)),
    ]
    if engine.host.mask is not None:
        masked = replace(run, engine=engine.model_copy(update={"overlap": ahead}))
        cause = "overlap off for masks" if engine.overlap.masks == "serial" else "sampling that waits for masks"
        stages.append((cause, step_time(masked, mode)))
        if engine.overlap.masks != "in-loop":
            return stages  # whatever the loop, it gives way to the rule for masks
    if engine.overlap.loop != "run-ahead":
        if engine.overlap.host_threads > 1:
            free = replace(run, constants=replace(run.constants, gil_handoff=0, other_thread_call=0))
            stages.append((LOOPS[engine.overlap.loop], step_time(free, mode)))
            stages.append(("the lock between the threads", step_time(run, mode)))
        else:
            stages.append((LOOPS[engine.overlap.loop], step_time(run, mode)))
    return stages


def _exact(run: ServingRun) -> tuple[int, ...]:
    """The buckets with one of the closed batch's own size among them."""
    batch = run.scenario.workload.batch
    return run.buckets if batch is None else tuple(sorted({*run.buckets, batch}))


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Where a gain ends: a sentence, and the number in it (None when there is no such point in the range)."""

    name: str
    value: float | None
    text: str


def break_evens(run: ServingRun, modes: tuple[str, ...]) -> list[BreakEven]:
    """The batch above which overlap and graphs stop paying, and the host that would make graphs superfluous.

    Batches are searched in powers of two up to 512 and then by bisection, over the first steps of the output and with
    nobody stopping early; all else stays. Only for a closed batch, where a step has a size.
    """
    if run.scenario.workload.batch is None:
        return []
    tokens = min(SHORT_OUTPUT, run.scenario.workload.longest_output)
    short = run.with_workload(output_tokens=tokens, stop_share=0.0)
    found = []
    if {"serial-graph", "overlap-graph"} <= set(modes):
        found.append(_batch_limit(short, "overlap", "serial-graph", "overlap-graph"))
    elif {"serial-eager", "overlap-eager"} <= set(modes):
        found.append(_batch_limit(short, "overlap", "serial-eager", "overlap-eager"))
    if {"serial-eager", "serial-graph"} <= set(modes):
        found.append(_batch_limit(short, "graphs", "serial-eager", "serial-graph"))
        found.append(_missing_bucket(short) if run.runs_eager else _host_that_equals_graphs(short))
    return found


def _batch_limit(run: ServingRun, what: str, without: str, with_it: str) -> BreakEven:
    def pays(batch: int) -> bool:
        sized = run.with_workload(batch=batch)
        return step_time(sized, without) >= PAYS * step_time(sized, with_it)

    batch = run.scenario.workload.batch
    assert batch is not None
    verb = "stops" if what == "overlap" else "stop"
    if not pays(batch):
        smaller = _search(1, batch, pays) if batch > 1 and pays(1) else None
        text = (
            f"{what} {verb} paying above batch {smaller}"
            if smaller
            else f"{what} {'gains' if what == 'overlap' else 'gain'} less than 1 % at every batch up to {batch}"
        )
        return BreakEven(f"{what}_batch", smaller, text)
    largest = max(batch, min(LARGEST_BATCH, run.largest_batch))
    high = batch
    while high < largest and pays(min(high * 2, largest)):
        high = min(high * 2, largest)
    if high >= largest:
        fits = ", the largest that fits" if high == run.largest_batch else ""
        text = f"{what} still {'pays' if what == 'overlap' else 'pay'} at batch {high}{fits}"
        return BreakEven(f"{what}_batch", None, text)
    limit = _search(high, min(high * 2, largest), pays)
    reason = ", the largest bucket" if limit == run.buckets[-1] else ""
    return BreakEven(f"{what}_batch", limit, f"{what} {verb} paying above batch {limit}{reason}")


def _missing_bucket(run: ServingRun) -> BreakEven:
    """What a graph of exactly the batch's size would gain, where none was captured for it."""
    gain = step_time(run, "serial-eager") / step_time(replace(run, buckets=_exact(run)), "serial-graph")
    text = f"a graph of {run.scenario.workload.batch} rows would be {float(gain):.2f}x, but none is captured"
    return BreakEven("missing_bucket", float(gain), text)


def _search(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The last number that holds between ``low``, which does, and ``high``, which does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _host_that_equals_graphs(run: ServingRun) -> BreakEven:
    """How many times faster a host would have to be for eager launching to be as fast as graphs are on this one."""
    goal = step_time(run, "serial-graph")

    def step(speed: float) -> Fraction:
        return step_time(replace(run, scale=run.scale / speed), "serial-eager")

    name = "host_speed_that_equals_graphs"
    if step(1.0) <= goal:
        return BreakEven(name, 1.0, "this host already launches as fast as graphs do")
    high = 1.0
    while step(high) > goal:
        high *= 2
        if high > 256:
            return BreakEven(name, None, "not even a host without cost would equal graphs, whose gaps are smaller")
    low = high / 2
    while high - low > 0.02 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if step(middle) <= goal else (middle, high)
    return BreakEven(name, high, f"a host {high:.1f}x faster would equal graphs")
