"""The chapter's two scripts and three exercises, and its hierarchy of speeds."""

from __future__ import annotations

from sim.studies.chapter.claim import Claim, Finding, Verdict
from sim.studies.chapter.lab import Lab
from sim.studies.chapter.measured_runs import ALL_MODES, BATCHES, HIERARCHY, served
from sim.studies.chapter.words import beside, listed
from sim.studies.table import time
from sim.studies.why import PAYS

SCRIPTS, EXERCISES = "Code walkthrough", "Try it yourself"
SIZES = (64, 128, 256, 512, 1024, 1536, 2048, 2560, 3072, 4096)


def _replay_against_normal(lab: Lab) -> Finding:
    gains, told = {}, []
    errors: tuple[float, ...] = ()
    for n in (256, 1024, 4096):
        modes = lab.modes("cuda-graph-simple", f"n={n}")
        gains[n] = modes["eager"]["total_us"] / modes["graph"]["total_us"]
        measured = lab.measured("cuda-graph-simple", f"n={n}")
        words, off = beside({mode: found["total_us"] for mode, found in modes.items()}, measured)
        told += [f"{n}: {words}"] if words else []
        errors += off
    return Finding(
        predicted="a replay is " + listed(f"{gain:.2f}x at width {n}" for n, gain in gains.items()) + " as fast",
        measured="; ".join(told),
        errors=errors,
        verdict=Verdict.of([gain >= PAYS for gain in gains.values()]),
        because="where the device is the longer one, there is little left to gain but its gaps",
        numbers={f"gain_{n}": gain for n, gain in gains.items()},
    )


def _breakdown_by_batch(lab: Lab) -> Finding:
    gains, shares, told = {}, {}, []
    errors: tuple[float, ...] = ()
    for batch in BATCHES:
        sets = served(batch)
        modes = lab.modes("scheduling-overhead", *sets)
        gains[batch] = modes["serial-graph"]["step_us"] / modes["overlap-graph"]["step_us"]
        host = modes["serial-graph"]["host"]
        shares[batch] = sum(host[p] for p in ("schedule", "prepare", "process")) / modes["serial-graph"]["step_us"]
        words, off = beside({m: f["step_us"] for m, f in modes.items()}, lab.measured("scheduling-overhead", *sets))
        told += [f"{batch}: {words}"] if words else []
        errors += off
    return Finding(
        predicted="the scheduler's share of a step with graphs: "
        + listed(f"{share:.1%} at {batch}" for batch, share in shares.items())
        + "; overlap gains " + listed(f"{gain:.2f}x" for gain in gains.values()),
        measured="; ".join(told),
        errors=errors,
        verdict=Verdict.of([gain >= PAYS for gain in gains.values()]),
        because="overlap gains what the scheduler takes, and larger batches make its share smaller",
        numbers={f"gain_{b}": gain for b, gain in gains.items()} | {f"share_{b}": share for b, share in shares.items()},
    )  # fmt: skip


def _hundred_matmuls(lab: Lab) -> Finding:
    gains, told = {}, []
    errors: tuple[float, ...] = ()
    for n in SIZES:
        modes = lab.modes("hundred-matmuls", f"n={n}")
        gains[n] = modes["graph"]["speedup"]
        measured = lab.measured("hundred-matmuls", f"n={n}")
        words, off = beside({mode: found["total_us"] for mode, found in modes.items()}, measured)
        told += [f"{n}: {words}"] if words else []
        errors += off
    last = max((n for n, gain in gains.items() if gain >= PAYS), default=0)
    return Finding(
        predicted=listed(f"{gain:.2f}x at {n}" for n, gain in gains.items()) + f"; gains 1 % or more up to {last}",
        measured="; ".join(told),
        errors=errors,
        verdict=Verdict.of([gain >= PAYS for gain in gains.values()]),
        because="a product that takes longer than its launch hides it",
        numbers={f"gain_{n}": gain for n, gain in gains.items()} | {"last_n_that_gains": last},
    )


def _other_shapes(lab: Lab) -> Finding:
    buckets = {"its own shape": 40, "padded to 48": 48, "padded to 64": 64, "none large enough": 32}
    steps, told = {}, {}
    errors: tuple[float, ...] = ()
    for name, bucket in buckets.items():
        sets = f"engine.buckets=[{bucket}]"
        modes = lab.modes("shape-constraints", sets)
        steps[name] = modes["serial-graph"]["step_us"]
        words, off = beside({"serial-graph": steps[name]}, lab.measured("shape-constraints", sets))
        errors += off
        if words:
            told[name] = words.removeprefix("serial-graph ")
    own = steps["its own shape"]
    return Finding(
        predicted="40 rows in a graph of " + listed({name: time(us) for name, us in steps.items()}),
        measured=listed(told),
        errors=errors,
        verdict=Verdict.of([steps["none large enough"] > own]),
        because="systems capture a list of shapes and pad; a batch above the largest is launched kernel by kernel",
        numbers={f"{name}_over_own": us / own for name, us in steps.items()},
    )


def _sleeping_batches(lab: Lab) -> Finding:
    modes = lab.modes("sleep-overlap")
    gain = modes["overlap-eager"]["speedup"]
    steps = {mode: found["step_us"] for mode, found in modes.items()}
    words, errors = beside(steps, lab.measured("sleep-overlap"))
    return Finding(
        predicted=f"{listed({mode: time(us) for mode, us in steps.items()})}: {gain:.2f}x of at most (10 + 6) / 10",
        measured=words,
        errors=errors,
        verdict=Verdict.of([gain > 1.5]),
        because="6 ms of the host pass behind 10 ms of the device: (G + C) / max(G, C)",
        numbers={"gain": gain},
    )


def _hierarchy(lab: Lab) -> Finding:
    found = {e: hierarchy(lab, "decode-llama-3.1-8b", f"engine.preset={e}") for e in ("lean", "pytorch")}
    told = {engine: listed({one: time(us) for one, us in rows.items()}) for engine, rows in found.items()}
    expected = {"replay": (0.0, 100.0), "overlapped": (0.0, 500.0), "normal": (2000.0, 5000.0), "naive": (10000.0, 1e9)}
    truths = {
        engine: [low <= rows[name] <= high for name, (low, high) in expected.items()]
        + [list(rows.values()) == sorted(rows.values())]
        for engine, rows in found.items()
    }
    modes = lab.modes("decode-llama-3.1-8b", *HIERARCHY)
    measured = lab.measured("decode-llama-3.1-8b", *HIERARCHY)
    words, off = beside({mode: found["step_us"] for mode, found in modes.items()}, measured)
    return Finding(
        predicted="of a step of the 8B model are no device work: "
        + "; ".join(f"{engine}: {words}" for engine, words in told.items()),
        measured=f"steps of {words} (lean)" if words else "",
        errors=off,
        verdict=Verdict.of([true for each in truths.values() for true in each]),
        because=f"order and sizes are those of {listed(e for e, each in truths.items() if all(each)) or 'none'}; "
        "an engine that launches few kernels with little Python is below them",
        numbers={f"{engine}_{name}_us": us for engine, rows in found.items() for name, us in rows.items()},
    )


def hierarchy(lab: Lab, scenario: str, *overrides: str) -> dict[str, float]:
    """Microseconds a step that are no device work, by the chapter's techniques from fastest to slowest.

    The call that replays a graph; the host work that overlap hides; what a serial loop adds to a graph's device work
    with launches one by one; what waiting after every kernel adds.
    """
    modes = lab.modes(scenario, *HIERARCHY, *overrides)
    overlap = modes["overlap-graph"]
    least = overlap["device_busy"] * overlap["step_us"]
    run = lab.run(scenario, *overrides)
    replay = run.costs().constants.graph_launch_call + run.engine.framework.by_kind.get("replay", 0)
    hidden = sum(overlap["host"][part] for part in ("schedule", "prepare", "launch", "process"))
    return {
        "replay": replay / 1000,
        "overlapped": hidden,
        "normal": modes["serial-eager"]["step_us"] - least,
        "naive": modes["naive"]["step_us"] - least,
    }


def measured_hierarchy(lab: Lab, scenario: str) -> dict[str, float]:
    """The same of the techniques that show in measured steps, against the device work that is predicted; or nothing."""
    found = lab.measured(scenario, *HIERARCHY)
    if found is None:
        return {}
    busy = lab.modes(scenario, *HIERARCHY)["overlap-graph"]["device_busy"]
    steps = {mode: one.us for mode, one in found.modes.items()}
    least = busy * steps["overlap-graph"]
    return {"normal": steps["serial-eager"] - least, "naive": steps["naive"] - least}


CLAIMS = (
    Claim(
        "replay-against-normal", SCRIPTS, "Script 1: replaying a captured forward pass is faster than running it",
        "overlapsim breakdown cuda-graph-simple --vary n=256,1024,4096", _replay_against_normal,
        measured=True,
    ),
    Claim(
        "breakdown-by-batch", SCRIPTS, "Script 2: scheduling against compute, by batch, and what overlap gains",
        f"overlapsim breakdown scheduling-overhead --vary workload.batch=1..256*4 --set {ALL_MODES}",
        _breakdown_by_batch,
        measured=True,
    ),
    Claim(
        "hundred-matmuls", EXERCISES, "Exercise 1: a hundred small products are faster as a graph",
        "overlapsim breakdown hundred-matmuls --vary n=64,256,1024,2048,4096", _hundred_matmuls,
        measured=True,
    ),
    Claim(
        "other-shapes", EXERCISES, "Exercise 2: a graph of a fixed shape works; another shape does not fit",
        "overlapsim run shape-constraints --set engine.buckets=[64]", _other_shapes,
        measured=True,
    ),
    Claim(
        "sleeping-batches", EXERCISES, "Exercise 3: sleeping batches with and without overlap",
        "overlapsim run sleep-overlap", _sleeping_batches, measured=True,
    ),
    Claim(
        "hierarchy", "The speed hierarchy",
        "Replay costs 0.01 ms, overlap 0.5 ms that is hidden, normal scheduling 2 to 5 ms, naive Python 10 ms or more",
        "overlapsim breakdown decode-llama-3.1-8b --set workload.output_tokens=24 "
        "--set engine.modes=naive,serial-eager,serial-graph,overlap-graph",
        _hierarchy, measured=True,
    ),
)  # fmt: skip
