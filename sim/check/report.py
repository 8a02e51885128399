"""What ``overlapsim check`` found, in words, as JSON and as files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scenarios.errors import Problem, ScenarioError, nearest
from scenarios.loader import load_scenario
from scenarios.scenario import Serving
from sim.check.attacks import Broken, MachineName, attack_server
from sim.check.picture import draw_broken
from sim.check.search import search
from sim.check.statements import statements
from sim.check.world import World
from sim.fast.refusal import OutsideError
from sim.serving.policies import POLICIES
from sim.studies.policy import policy_of
from sim.studies.serving import ServingRun


@dataclass
class Finding:
    """How many worlds were tried, what broke, in which world, and the files that show it."""

    policy: str
    machine: str
    tried: int
    broken: Broken | None = None
    world: World | None = None
    scenario: str | None = None
    mode: str = ""
    files: list[Path] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Nothing broke."""
        return self.broken is None

    def lines(self) -> list[str]:
        """For a reader."""
        number, noun = self.tried, "mode" if self.scenario else "world"
        where = f"{number} {noun}{'s' if number != 1 else ''}" + (f" of {self.scenario}" if self.scenario else "")
        if self.broken is None:
            return [f"{self.policy}: every invariant held in {where}, on the {self.machine} machine"]
        told = statements()
        lines = [f"{self.policy} broke an invariant; {number} worlds were tried, this is the smallest that breaks it:"]
        if self.scenario:
            lines = [f"{self.policy} broke an invariant in {self.scenario}, {self.mode}:"]
        for violation in self.broken.violations:
            lines += ["", str(violation), f"  forbidden: {told[violation.invariant].forbids}"]
            lines += [f"  since {told[violation.invariant].why}"]
        lines += ["", str(self.world)] if self.world is not None else []
        return [*lines, *(["", "wrote " + ", ".join(map(str, self.files))] if self.files else [])]

    def as_json(self) -> dict[str, Any]:
        """One object for scripts; ``violations`` is empty when everything held."""
        told = statements()
        violations = () if self.broken is None else self.broken.violations
        requests = () if self.world is None else self.world.requests
        return {
            "policy": self.policy,
            "machine": self.machine,
            "tried": self.tried,
            "held": self.held,
            "violations": [
                {
                    "invariant": v.invariant,
                    "sentence": v.sentence,
                    "forbids": told[v.invariant].forbids,
                    "why": told[v.invariant].why,
                }
                for v in violations
            ],
            "requests": [
                {"arrival_us": r.arrival, "prompt": r.context, "tokens": r.tokens}
                | ({"hashes": list(r.hashes)} if r.hashes else {})
                for r in sorted(requests, key=lambda r: r.arrival)
            ],
            "files": [str(path) for path in self.files],
        }


def attack(
    policy: str,
    *,
    out: Path,
    scenario: str | None = None,
    machine: MachineName = "reference",
    examples: int = 500,
    properties: frozenset[str] = frozenset(),
    patience: int | None = 3,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Finding:
    """Attack a policy by its name, with random worlds or with one scenario, and write what breaks beside ``out``.

    Raises ``ScenarioError`` for a policy or a scenario that cannot be had.
    """
    if policy not in POLICIES and not re.fullmatch(r"\w+(\.\w+)*:\w+", policy):
        built_in = nearest(policy, list(POLICIES))
        message = f"found {policy!r}, expected package.module:Name, or the name of one that is built in ({built_in})"
        raise ScenarioError([Problem("check", "policy", message)])
    knobs: dict[str, str | None] = {"batching": policy, "policy": None} if policy in POLICIES else {"policy": policy}
    if scenario is not None:
        return _one(policy, scenario, knobs, machine, patience)
    policy_of(World(()).with_engine(knobs).serving().engine, "check")
    found = search(
        machine=machine, examples=examples, properties=properties, patience=patience, seed=seed, progress=progress,
        engine=knobs,
    )  # fmt: skip
    finding = Finding(policy, machine, found.tried)
    if found.found is not None:
        finding.world, finding.broken, finding.mode = found.found.world, found.found.broken, found.found.world.mode
        finding.files = _write(out, finding)
    return finding


def _one(
    policy: str, scenario: str, knobs: dict[str, str | None], machine: MachineName, patience: int | None
) -> Finding:
    """Serve one scenario under watch, mode by mode until something breaks."""
    loaded = load_scenario(scenario)
    if not isinstance(loaded.scenario, Serving):
        raise ScenarioError([Problem(scenario, "kind", "found 'program', expected 'serving': a program has no policy")])
    run = ServingRun.of(loaded)
    run = replace(run, engine=run.engine.model_copy(update=knobs))
    finding = Finding(policy, machine, 0, scenario=scenario)
    for mode in loaded.modes:
        finding.tried, finding.mode = finding.tried + 1, mode
        try:
            finding.broken = attack_server(run, mode, run.requests(), machine=machine, patience=patience)
        except OutsideError as error:
            message = f"found 'fast', expected 'reference': this run has {error.feature}"
            raise ScenarioError([Problem("--machine", "", message)]) from error
        if finding.broken is not None:
            break
    return finding


def _write(out: Path, finding: Finding) -> list[Path]:
    assert finding.world is not None
    assert finding.broken is not None
    told = [str(violation) for violation in finding.broken.violations]
    again = f"overlapsim check {finding.policy} --scenario {out.name}"
    trace = finding.world.write(out, "\n".join(["The smallest world that breaks", *told, f"again: {again}"]))
    picture = out.with_suffix(".png")
    source = finding.world.source()
    arrivals = [request.arrival for request in source.take(1 << 62)]
    draw_broken(picture, finding.broken, arrivals, told[0])
    return [out, trace, picture]
