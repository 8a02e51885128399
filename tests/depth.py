"""How many examples a property is tried on, here and in a deep check."""

from __future__ import annotations

from hypothesis import settings

EVERY_DAY = 100
"""Examples that Hypothesis draws unless a profile says otherwise."""


def examples(count: int) -> int:
    """So many every day, and in proportion where a profile asks for more."""
    return count * settings.default.max_examples // EVERY_DAY
