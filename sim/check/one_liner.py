"""A policy's invariants as a test, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sim.serving.policies import Policy


def scheduler_invariants(
    policy: Policy | Callable[[], Policy],
    *,
    machine: Literal["fast", "reference"] = "reference",
    examples: int = 200,
    properties: tuple[str, ...] = (),
    patience: int | None = 3,
) -> Callable[[], None]:
    """A test that attacks a policy.

    Kept under a name that pytest collects, ``test_mine = scheduler_invariants(MyPolicy)``. A class is made anew for
    each world. The test raises ``AssertionError`` with the smallest world that breaks one of the ``properties``, of all
    when none is named, and says which and how. ``patience`` is how many requests may overtake one that fits, None for
    any number.
    """

    def test() -> None:
        __tracebackhide__ = True  # the message says it all
        from inspect import isclass

        from sim.check.search import search

        make: Callable[[], Policy] = policy if isclass(policy) else lambda: policy  # type: ignore[assignment,return-value]
        found = search(
            make, machine=machine, examples=examples, properties=frozenset(properties), patience=patience
        ).found
        if found is not None:
            told = "\n".join(map(str, found.broken.violations))
            raise AssertionError(f"{told}\n{found.world}")

    return test
