"""Search for a world that breaks an invariant, and shrink it to the smallest that still does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from scenarios.errors import Problem, ScenarioError
from sim.check.attacks import Broken, MachineName, MakePolicy, attack_world
from sim.check.invariant import BrokenError
from sim.check.watch import PATIENCE
from sim.check.world import World
from sim.fast.refusal import OutsideError
from sim.timeline.spans import Recorder


@dataclass(frozen=True, slots=True)
class Found:
    """The smallest world that broke something, and what it broke."""

    world: World
    broken: Broken


@dataclass(frozen=True, slots=True)
class Searched:
    """How many worlds were tried, those of the shrinking included, and the smallest that broke something."""

    tried: int
    found: Found | None


class _BrokenWorldError(Exception):
    """What makes hypothesis shrink."""


def search(
    policy: MakePolicy | None = None,
    *,
    machine: MachineName = "reference",
    examples: int = 500,
    properties: frozenset[str] = frozenset(),
    patience: int | None = PATIENCE,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
    engine: Mapping[str, Any] | None = None,
    worlds: Any = None,
    also: Callable[[World], None] | None = None,
) -> Searched:
    """Attack a policy, the engine's own where there is none, with so many worlds; equal arguments try equal worlds.

    With ``properties`` only what breaks these counts; ``engine`` are knobs that all worlds have, ``worlds`` is the
    strategy that draws them, all of ``sim.check.strategies.worlds`` where none is given; ``also`` is asked of each
    world, too, and raises ``BrokenError``. Worlds that the fast machine refuses count as tried. Raises
    ``ScenarioError`` where hypothesis is missing.
    """
    if find_spec("hypothesis") is None:
        raise ScenarioError([Problem("check", "", "needs hypothesis: pip install 'overlapsim[check]'")])
    import hypothesis
    from hypothesis import HealthCheck, Phase, given, reject, settings

    from sim.check.strategies.worlds import worlds as any_worlds

    tried = 0
    smallest: Found | None = None

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(any_worlds() if worlds is None else worlds)
    def attempt(world: World) -> None:
        nonlocal tried, smallest
        tried += 1
        progress(tried)
        world = world.with_engine(engine or {})
        try:
            broken = attack_world(world, policy, machine, patience)
            if broken is None and also is not None:
                also(world)
        except BrokenError as error:
            broken = Broken(error.violations, Recorder().timeline(), ())
        except OutsideError:
            return
        except ScenarioError:
            reject()  # knobs that do not go together
        if broken is not None and properties:
            kept = tuple(v for v in broken.violations if v.invariant in properties)
            broken = replace(broken, violations=kept) if kept else None
        if broken is not None:
            smallest = Found(world, broken)  # the last that fails is the smallest: it is run once more at the end
            raise _BrokenWorldError

    with suppress(_BrokenWorldError):
        attempt()
    return Searched(tried, smallest)
