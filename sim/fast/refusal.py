"""What the fast machine says instead of approximating."""

from __future__ import annotations


class OutsideError(RuntimeError):
    """A run needs a ``feature`` for which the order of events, not that of calls, decides the times."""

    def __init__(self, feature: str) -> None:
        super().__init__(f"outside of the fast machine: {feature}")
        self.feature = feature
