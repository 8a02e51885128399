"""Claims about what scheduling costs: the CPU works while the GPU waits, and how much that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scenarios.loader import list_engines
from sim.studies.chapter.claim import Claim, Finding, Verdict
from sim.studies.chapter.lab import Lab, models_by_size
from sim.studies.chapter.measured_runs import BATCHES, HIERARCHY, served
from sim.studies.chapter.words import beside, error, listed
from sim.studies.step_prices import StepParts, StepPrices
from sim.studies.table import time
from sim.studies.validation.shipped import MeasuredMode
from sim.timeline.metrics import HOST_PARTS

PROBLEM, HOW_BAD = "The scheduling overhead problem", "How bad is it?"
LARGEST = 512
CONTEXT = 512
WORK = ("schedule", "prepare", "process")
SHORT = ("workload.context=512", "workload.output_tokens=24")


def step_parts(lab: Lab, model: str, engine: str, rows: int) -> StepParts:
    """A serial eager decode step of ``rows`` with 512 tokens each."""
    run = lab.run("scheduling-overhead", f"model={model}", f"engine.preset={engine}")
    return StepPrices(run, "serial-eager", CONTEXT).parts(rows, None)


def crossover(lab: Lab, model: str, engine: str) -> int:
    """The batch up to which the host of a serial eager step takes longer than its device; 0 for none, at most 512.

    Sought in powers of two and then by bisection: device work grows with the batch, but for steps where kernels change.
    """
    prices = StepPrices(
        lab.run("scheduling-overhead", f"model={model}", f"engine.preset={engine}"), "serial-eager", CONTEXT
    )

    def host_is_longer(rows: int) -> bool:
        parts = prices.parts(rows, None)
        return parts.host >= parts.device

    if not host_is_longer(1):
        return 0
    low = 1
    while low < LARGEST and host_is_longer(2 * low):
        low *= 2
    high = 2 * low
    while low < LARGEST and high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if host_is_longer(middle) else (low, middle)
    return low


def host_work(measured: MeasuredMode) -> float:
    """Microseconds a step for which the host did anything but wait."""
    return sum(us for part, us in measured.host_us.items() if part in (*WORK, "launch"))


def _parts(found: Mapping[str, float], parts: Sequence[str]) -> str:
    return listed({part: time(found[part]) for part in parts})


def _device_waits(lab: Lab) -> Finding:
    serial = lab.modes("scheduling-overhead", *served(16))["serial-graph"]
    measured = lab.measured("scheduling-overhead", *served(16))
    waited = serial["exposed_host_us"] / serial["step_us"]
    words, errors = beside({"serial-graph": serial["step_us"]}, measured)
    host = measured.modes["serial-graph"].host_us if measured else {}
    return Finding(
        predicted=f"of a {time(serial['step_us'])} step with graphs, {_parts(serial['host'], WORK)}, and the GPU idles "
        f"{time(serial['exposed_host_us'])} ({waited:.1%}) for its host",
        measured=f"{words}: {_parts(host, WORK)}" if host else "",
        errors=errors,
        verdict=Verdict.of([waited > 0.01]),
        because="schedule, prepare and process pass while the device has nothing to do",
        numbers={"exposed_us": serial["exposed_host_us"], "step_us": serial["step_us"]},
    )


def _small_batches(lab: Lab) -> Finding:
    found = {
        engine: {model: crossover(lab, model, engine) for model in models_by_size()} for engine in ("lean", "pytorch")
    }
    told = {
        engine: listed({m: f"{b}+" if b >= LARGEST else str(b) for m, b in batches.items()})
        for engine, batches in found.items()
    }
    seen, errors = {}, []
    for batch in BATCHES:
        measured = lab.measured("scheduling-overhead", *served(batch))
        if measured is not None:
            eager = measured.modes["serial-eager"]
            seen[batch] = f"{host_work(eager) / eager.us:.0%} at {batch}"
            predicted = lab.modes("scheduling-overhead", *served(batch))["serial-eager"]["step_us"]
            errors.append(error(predicted, eager))
    return Finding(
        predicted="; ".join(f"{engine}: the host takes longer up to batch {words}" for engine, words in told.items()),
        measured=f"llama-3.2-1b, lean: the host works for {listed(seen.values())} of a step" if seen else "",
        errors=tuple(errors),
        verdict=Verdict.of([batch > 0 for batches in found.values() for batch in batches.values()]),
        because="launching takes as long for every batch, and kernels of large models are longer than their launches",
        numbers={f"{engine} {model}": batch for engine, batches in found.items() for model, batch in batches.items()},
    )


def _milliseconds(lab: Lab) -> Finding:
    steps = {
        (engine, rows): step_parts(lab, "llama-3.1-8b", engine, rows)
        for engine in ("lean", "pytorch")
        for rows in (16, 128)
    }
    told = {
        f"{engine} at {rows}": f"device {time(parts.device / 1000)}, host {time(parts.host / 1000)}"
        for (engine, rows), parts in steps.items()
    }
    inside = {
        f"{engine} {rows}": 5 <= parts.device / 1e6 <= 10 and 2 <= parts.host / 1e6 <= 5
        for (engine, rows), parts in steps.items()
    }
    measured = lab.measured("decode-llama-3.1-8b", *HIERARCHY)
    words, errors = beside(
        {"serial-eager": lab.modes("decode-llama-3.1-8b", *HIERARCHY)["serial-eager"]["step_us"]}, measured
    )
    if measured is not None:
        host = host_work(measured.modes["serial-eager"])
        words = f"lean at 16: a step {words.removeprefix('serial-eager ')}, of which the host works for {time(host)}"
    return Finding(
        measured=words,
        errors=errors,
        predicted="8B: " + "; ".join(f"{name}: {words}" for name, words in told.items()),
        verdict=Verdict.of(inside),
        because=f"true for {listed(name for name, true in inside.items() if true) or 'none of these'}",
        numbers={f"{name}_us": us for (e, r), p in steps.items() for name, us in
                 ((f"{e}_{r}_device", p.device / 1000), (f"{e}_{r}_host", p.host / 1000))},
    )  # fmt: skip


def _twenty_to_fifty(lab: Lab) -> Finding:
    of_total, of_compute = {}, {}
    for engine in list_engines():
        sets = (*SHORT, f"engine.preset={engine}")
        mode = next(iter(lab.load("decode-llama-3.1-8b", *sets).modes))
        step = lab.modes("decode-llama-3.1-8b", *sets, f"engine.modes={mode}")[mode]
        name = engine if mode == "serial-eager" else f"{engine} ({mode})"
        of_total[name] = step["exposed_host_us"] / step["step_us"]
        of_compute[name] = step["exposed_host_us"] / (step["device_busy"] * step["step_us"])
    truths = {e: 0.2 <= of_total[e] <= 0.5 or 0.2 <= of_compute[e] <= 0.5 for e in of_total}
    told = {e: f"{of_total[e]:.0%} / {of_compute[e]:.0%}" for e in of_total}
    return Finding(
        predicted=f"8B at 16 rows, of the step / of the compute: {listed(told)}",
        verdict=Verdict.of(truths),
        because=f"true for {listed(e for e, true in truths.items() if true) or 'no engine shipped here'}",
        numbers={f"{e}_of_total": of_total[e] for e in of_total}
        | {f"{e}_of_compute": of_compute[e] for e in of_compute},
    )


def _five_steps(lab: Lab) -> Finding:
    sets = served(16)
    modes, measured = lab.modes("scheduling-overhead", *sets), lab.measured("scheduling-overhead", *sets)
    serial, overlap = modes["serial-graph"], modes["overlap-graph"]
    diagrams = {"serial-graph": "one after the other", "overlap-graph": "overlapped"}
    told = {name: _parts(modes[mode]["host"], HOST_PARTS[:-1]) for mode, name in diagrams.items()}
    seen = {}
    if measured is not None:
        seen = {name: _parts(measured.modes[mode].host_us, HOST_PARTS[:-1]) for mode, name in diagrams.items()}
    gain = serial["step_us"] / overlap["step_us"]
    return Finding(
        predicted="; ".join(f"{name}: {words}" for name, words in told.items()) + f"; {gain:.2f}x",
        measured="; ".join(f"{name}: {words}" for name, words in seen.items()),
        errors=beside({mode: modes[mode]["step_us"] for mode in diagrams}, measured)[1],
        verdict=Verdict.of([overlap["exposed_host_us"] < 0.01 * overlap["step_us"], gain > 1.01]),
        because="under overlap what was work before the wait becomes a shorter wait",
        numbers={"gain": gain, "serial_us": serial["step_us"], "overlap_us": overlap["step_us"]},
    )


CLAIMS = (
    Claim(
        "device-waits", PROBLEM, "Scheduling, preparing and processing run on the CPU while the GPU waits",
        "overlapsim breakdown scheduling-overhead --set engine.modes=serial-graph", _device_waits, measured=True,
    ),
    Claim(
        "five-steps", PROBLEM, "The server's five steps, one after the other and overlapped",
        "overlapsim breakdown scheduling-overhead --set engine.modes=serial-graph,overlap-graph", _five_steps,
        measured=True,
    ),
    Claim(
        "small-batches", PROBLEM, "For small decode batches the CPU's work exceeds the GPU's",
        "overlapsim breakdown scheduling-overhead --vary workload.batch=1..64*4 --set engine.modes=serial-eager",
        _small_batches, measured=True,
    ),
    Claim(
        "milliseconds", HOW_BAD, "A decode step takes 5 to 10 ms of GPU and 2 to 5 ms of CPU time",
        "overlapsim breakdown decode-llama-3.1-8b --vary workload.batch=16,128 --set engine.modes=serial-eager",
        _milliseconds, measured=True,
    ),
    Claim(
        "twenty-to-fifty", HOW_BAD, "That is 20 to 50 % of overhead",
        "overlapsim breakdown decode-llama-3.1-8b --vary engine.preset=lean,pytorch --set engine.modes=serial-eager",
        _twenty_to_fifty,
    ),
)  # fmt: skip
