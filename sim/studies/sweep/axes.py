"""From ``--vary`` to points."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from random import Random
from typing import Literal

from scenarios.errors import Problem, ScenarioError

SampleKind = Literal["grid", "random", "lhs"]
LARGEST = 10_000_000
"""Points of a sweep: more would not fit into memory."""
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:([*+])(\d+))?")


@dataclass(frozen=True, slots=True)
class Axis:
    """A key of the scenario and the values that it takes, as texts."""

    key: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """Such as ``host.scale=0.5,1,2``, ``workload.batch=1..256*2`` or ``n=64..512+64``.

        A range has its last value if a step leads there. Raises ``ScenarioError`` for a text that is neither.
        """
        key, equals, values = (part.strip() for part in text.partition("="))
        items = [item for part in values.split(",") for item in _expanded(part.strip())]
        if not equals or not key or not all(items):
            expected = "KEY=A,B,C or KEY=FIRST..LAST, with +STEP or *FACTOR if not every integer is wanted"
            raise ScenarioError([Problem("--vary", "", f"found {text!r}, expected {expected}")])
        if len(set(items)) < len(items):
            raise ScenarioError([Problem("--vary", key, f"found {values!r}, expected values without duplicates")])
        return cls(key, tuple(items))


def _expanded(part: str) -> list[str]:
    match = _RANGE.fullmatch(part)
    if match is None and re.match(r"[\d.]+\.\.\d", part):
        raise ScenarioError([Problem("--vary", "", f"found {part!r}, expected a range of integers, or a list")])
    if match is None:
        return [part]
    first, last, kind, by = int(match[1]), int(match[2]), match[3] or "+", int(match[4] or 1)
    if first > last or by < 1 or (kind == "*" and (by < 2 or first < 1)) or (last - first) // by > LARGEST:
        raise ScenarioError([Problem("--vary", "", f"found {part!r}, expected a rising range of a few values")])
    found = []
    while first <= last:
        found.append(str(first))
        first = first * by if kind == "*" else first + by
    return found


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep: overrides in the order of the axes, and a seed."""

    overrides: tuple[str, ...]
    seed: int

    def digest(self, base: str) -> str:
        """What tells it from all others: ``base`` is the digest of the scenario that it changes."""
        return hashlib.sha256("\n".join((base, *self.overrides, str(self.seed))).encode()).hexdigest()[:16]


def points_of(axes: Sequence[Axis], seeds: Sequence[int], kind: SampleKind = "grid", count: int = 0) -> list[Point]:
    """All points of a grid, or ``count`` of them: drawn at random, or as a Latin hypercube, by the first seed.

    A Latin hypercube takes each axis's values in turn, each equally often up to one, in a random order. Raises
    ``ScenarioError`` for a grid that no memory holds.
    """
    size = prod(len(axis.values) for axis in axes)
    if (size if kind == "grid" else count) * len(seeds) > LARGEST:
        raise ScenarioError([Problem("--vary", "", f"found {size} points, expected at most {LARGEST}")])
    if kind == "grid":
        chosen = list(product(*(axis.values for axis in axes)))
    else:
        random = Random(seeds[0])
        columns = [_column(axis.values, count, random, latin=kind == "lhs") for axis in axes]
        chosen = list(dict.fromkeys(zip(*columns, strict=True)))
    return [
        Point(tuple(f"{axis.key}={value}" for axis, value in zip(axes, values, strict=True)), seed)
        for values in chosen
        for seed in seeds
    ]


def _column(values: Sequence[str], count: int, random: Random, *, latin: bool) -> list[str]:
    if not latin:
        return random.choices(values, k=count)
    column = [values[i % len(values)] for i in range(count)]
    random.shuffle(column)
    return column
