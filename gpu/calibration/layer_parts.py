"""What each kernel of a layer takes in its place, from layers that were measured whole and with one kind left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
ONCE = ("head", "embedding", "half")
TIMES = Counter({"norm": 2})
"""How often a layer has a kind, where not once."""
LEAST = 0.5
"""Microseconds that every kernel takes at least, whatever a noisy difference says."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kernel of a step of a model: ``rows`` new tokens over a context of so many, microseconds without any gap."""

    model: str
    phase: str
    name: str
    rows: int
    context: int
    us: float


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One measured row; ``gap`` is what follows a kernel of a graph."""

    row: Row
    gap: float

    @property
    def layer(self) -> float:
        """A layer as a whole, gaps included."""
        layers = self.row["layers"]
        return float((self.row["whole"] - self.row["without"]["half"]) / (layers - layers // 2))

    @property
    def removed(self) -> dict[str, float]:
        """By how much a layer is shorter without one kernel of a kind."""
        whole, layers = self.row["whole"], self.row["layers"]
        return {
            name: (whole - us) / layers / (TIMES[name] or 1)
            for name, us in self.row["without"].items()
            if name not in ONCE
        }

    @property
    def unexplained(self) -> float:
        """By how much the kernels of a layer add up to something else than the layer, relative."""
        return sum(us * (TIMES[name] or 1) for name, us in self.removed.items()) / self.layer - 1

    @property
    def durations(self) -> dict[str, float]:
        """What each kind takes without a gap, none less than ``LEAST``, stretched so that they add up to the layer."""
        least = {name: max(LEAST, us - self.gap) for name, us in self.removed.items()}
        count = sum(TIMES[name] or 1 for name in least)
        stretch = (self.layer - count * self.gap) / sum(us * (TIMES[name] or 1) for name, us in least.items())
        return {name: us * stretch for name, us in least.items()}

    def parts(self) -> Iterator[Part]:
        """All kernels of a layer, then those that a step has once."""
        row = self.row
        for name, us in self.durations.items():
            if name == "attention" and row["phase"] == "decode":
                yield from self._attention(us)
            else:
                yield self._part(name, us)
        once = {name: row["whole"] - row["without"][name] for name in ("head", "embedding")}
        for name, us in (once | {name: us - row["whole"] for name, us in row["with"].items()}).items():
            if name != "head" or row["phase"] == "decode":  # a prefill's head also gathers its rows
                yield self._part(name, max(LEAST, us - self.gap))

    def _attention(self, at_base: float) -> Iterator[Part]:
        whole = dict(self.row["contexts"])
        for context, us in whole.items():
            beyond = (us - whole[self.row["base"]]) / self.row["layers"]
            yield self._part("attention", max(LEAST, at_base + beyond), context)

    def _part(self, name: str, us: float, context: int = 0) -> Part:
        row = self.row
        return Part(row["model"], row["phase"], name, row["rows"], context, us)
