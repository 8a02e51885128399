"""From an engine's knobs to the policy that its scheduler asks."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path

from scenarios.engine import EnginePreset
from scenarios.errors import Problem, ScenarioError
from sim.serving.policies import POLICIES, Budget, Plan, Policy, PolicyError, Queues


def policy_of(engine: EnginePreset, source: str) -> Policy:
    """The preset's own policy, or the user's; raises ``ScenarioError`` for one that cannot be found or called.

    ``module:name`` is looked up from the current directory on. A class is made anew for every run, so that it may keep
    state.
    """
    if engine.policy is None:
        return POLICIES[engine.batching]
    module, _, name = engine.policy.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(import_module(module), name)
        policy: Policy = found() if isinstance(found, type) else found
    except (ImportError, AttributeError, TypeError) as error:
        raise _refused(source, f"found {engine.policy!r}, which cannot be made: {error}") from error
    if not callable(policy) or not _takes_two(policy):
        raise _refused(source, f"found {engine.policy!r}, which is no callable of (queues, budget)")
    return partial(_planned, policy)


def _takes_two(policy: Policy) -> bool:
    try:
        signature(policy).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # of what is not written in Python nothing may be known
        return True
    return True


def _planned(policy: Policy, queues: Queues, budget: Budget) -> Plan:
    """What a policy answers, if that is a plan."""
    plan = policy(queues, budget)
    if not isinstance(plan, Plan):
        raise PolicyError(f"the policy answered {plan!r}, expected a Plan")
    return plan


def _refused(source: str, message: str) -> ScenarioError:
    return ScenarioError([Problem(source, "engine.policy", message)])
