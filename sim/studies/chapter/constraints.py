"""Claims about what a graph cannot hold: tried on a GPU, case by case, and kept with the results of that card."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from scenarios.loader import list_profiles
from sim.studies.chapter.claim import Claim, Finding, Verdict
from sim.studies.chapter.lab import Lab
from sim.studies.chapter.words import beside, listed
from sim.studies.table import time
from sim.studies.validation.shipped import results_path

ALLOWED, TRAINING = "CUDA graphs: the constraints", "Why training rarely uses CUDA graphs"
COMMAND = "overlapsim capture --suite"
NOTHING = "nothing"
LITTLE = 1.05
"""A gain below which few would rewrite a training loop."""
LOST = {"captured": False, "refused": True, "frozen": True, "raises": True, "crashed": True}
"""Whether a case's outcome means that a graph cannot hold it; what freezes is captured, and wrong from then on."""


def tried() -> dict[str, Any]:
    """The shipped results of the capture suite; empty where none are installed."""
    paths = (results_path(profile, "capture") for profile in list_profiles())
    path = next((p for p in paths if p is not None), None)
    found: dict[str, Any] = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    return found


def _forbidden(*rows: str) -> Callable[[Lab], Finding]:
    """Whether a graph can hold none of the cases of some rows."""

    def look(lab: Lab) -> Finding:
        del lab
        found = tried()
        cases = [case for case in found.get("cases", ()) if case["row"] in rows]
        outcomes = {case["case"]: case["verdict"] for case in cases}
        holds = [name for name, verdict in outcomes.items() if not LOST[verdict]]
        frozen = [name for name, verdict in outcomes.items() if verdict == "frozen"]
        return Finding(
            predicted="nothing that takes time: what a capture does is tried",
            measured=f"{found['provenance']['gpu']}: {listed(outcomes)}" if outcomes else "",
            verdict=Verdict.of([LOST[verdict] for verdict in outcomes.values()]) if outcomes else Verdict.IN_PART,
            because=f"a graph holds {listed(holds) or 'none of these'}"
            + (f"; frozen without an error: {listed(frozen)}" if frozen else ""),
            numbers={name: list(LOST).index(verdict) for name, verdict in outcomes.items()},
        )

    return look


def seen(mistake: dict[str, Any]) -> str:
    """What a user sees of one mistake."""
    if mistake["raised"]:
        return (
            f"{mistake['raised'].partition(':')[0]} at {mistake['when']}{', with its line' if mistake['line'] else ''}"
        )
    return "printed" if mistake["printed"] else NOTHING


def _hidden_errors(lab: Lab) -> Finding:
    del lab
    found = tried()
    told: dict[str, dict[str, str]] = {}
    for one in found.get("mistakes", ()):
        told.setdefault(one["what"], {})[one["how"]] = seen(one)
    hidden = {what: hows["replay"] == NOTHING != hows["eager"] for what, hows in told.items()}
    lines = [f"{what}: eager {hows['eager']}, in a replay {hows['replay']}" for what, hows in told.items()]
    return Finding(
        predicted="nothing that takes time: mistakes are made, eagerly and in a replay",
        measured=f"{found['provenance']['gpu']}: {'; '.join(lines)}" if lines else "",
        verdict=Verdict.of(hidden) if hidden else Verdict.IN_PART,
        because="what Python would say is said once, at capture; what the device asserts is still told, without a line",
        numbers={what: int(is_hidden) for what, is_hidden in hidden.items()},
    )


def _training_gains(lab: Lab) -> Finding:
    gains, seen, card = {}, {}, ""
    errors: tuple[float, ...] = ()
    for name in ("small", "large"):
        modes, measured = lab.modes(f"training-{name}"), lab.measured(f"training-{name}")
        gains[name] = modes["graph-step"]["speedup"]
        if measured is not None:
            eager, graph = (measured.modes[mode].us for mode in ("eager", "graph-step"))
            seen[name] = f"{name} {time(eager)}, as one graph {time(graph)}, {eager / graph:.2f}x"
            card = lab.load(f"training-{name}").profile.provenance.gpu
            errors += beside({mode: found["total_us"] for mode, found in modes.items()}, measured)[1]
    return Finding(
        measured=f"{card}: 20 steps of the models: {'; '.join(seen.values())}" if seen else "",
        errors=errors,
        predicted="the whole step as a graph: "
        + listed(f"{gain:.2f}x for a {name} model" for name, gain in gains.items()),
        verdict=Verdict.of([gain < LITTLE for gain in gains.values()]),
        because="a small model's step is launches, which a graph takes away, a large one's is kernels, which stay",
        numbers={f"{name}_gain": gain for name, gain in gains.items()},
    )


def _row(name: str, section: str, says: str, *rows: str) -> Claim:
    return Claim(name, section, says, COMMAND, _forbidden(*rows))


CONSTRAINTS = (
    _row("no-dynamic-shapes", ALLOWED, "Dynamic shapes are not allowed", "dynamic shapes"),
    _row("no-dropout", ALLOWED, "Random dropout is not allowed", "dropout and random numbers"),
    _row("no-allocation", ALLOWED, "Dynamic allocation is not allowed", "memory allocation"),
    _row("no-branching", ALLOWED, "Data-dependent branching is not allowed", "data-dependent branching", "torch.cond"),
    _row("no-optimizers", TRAINING, "Optimizer updates and clipping are dynamic", "optimizers", "gradient clipping"),
    _row("no-schedules", TRAINING, "A learning rate schedule computes otherwise each step", "learning rate"),
    _row("no-accumulation", TRAINING, "Accumulation varies the number of backwards", "gradient accumulation"),
    _row("no-checkpointing", TRAINING, "Activation checkpointing allocates and frees", "activation checkpointing"),
    Claim(
        "training-gains",
        TRAINING,
        "So graphs are hardly for training",
        "overlapsim run training-small",
        _training_gains,
    ),
)
DEBUGGING = Claim(
    "hidden-errors", "When not to use CUDA graphs", "Not while debugging: graphs hide errors", COMMAND, _hidden_errors
)
