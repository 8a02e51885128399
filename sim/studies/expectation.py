"""Conditions on a run's numbers, for a user's own CI: ``overlap-graph.speedup>1.3``."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from scenarios.errors import Problem, ScenarioError

OPERATORS = {">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}
_FORM = re.compile(r"\s*([\w.-]+?)\s*(>=|<=|==|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Expectation:
    """One condition: a number of the ``modes`` object by its dotted path, an operator, a bound."""

    text: str
    path: tuple[str, ...]
    symbol: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Expectation:
        """Raises ``ScenarioError`` for a text that is no condition."""
        match = _FORM.fullmatch(text)
        if match is None:
            expected = "a condition such as 'overlap-graph.speedup>1.3'"
            raise ScenarioError([Problem("--expect", "", f"found {text!r}, expected {expected}")])
        return cls(text, tuple(match[1].split(".")), match[2], float(match[3]))

    def check_mode(self, modes: tuple[str, ...]) -> None:
        """Raise ``ScenarioError`` unless the path begins with one of the modes, before any of them is run."""
        if self.path[0] not in modes:
            self.find(dict.fromkeys(modes))

    def find(self, modes: dict[str, Any]) -> float:
        """The number that the path names; raises ``ScenarioError`` naming the nearest known one."""
        here: Any = modes
        for depth, key in enumerate(self.path):
            if not isinstance(here, dict) or key not in here:
                known = list(here) if isinstance(here, dict) else []
                near = get_close_matches(key, known, 1, 0.4) or known[:1]
                hint = ".".join((*self.path[:depth], near[0])) if near else ".".join(self.path[:depth])
                raise ScenarioError([Problem("--expect", "", f"found {self.text!r}, did you mean {hint!r}?")])
            here = here[key]
        if not isinstance(here, int | float):
            raise ScenarioError([Problem("--expect", "", f"{'.'.join(self.path)!r} is not a number")])
        return float(here)

    def check(self, modes: dict[str, Any]) -> str | None:
        """None when it holds, else a sentence with the number found."""
        found = self.find(modes)
        if OPERATORS[self.symbol](found, self.bound):
            return None
        return f"expected {self.text}, found {'.'.join(self.path)} = {found:g}"
