"""What each kernel of a layer takes in its place, from layers that were measured whole and with one kind left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
    """One kernel of a step of a model: ``rows`` new tokens over a context of so many, microseconds without any gap.

    In prefill the rows are those of so many ``prompts`` of one length.
    """

    model: str
    phase: str
    name: str
    rows: int
    context: int
    us: float
    prompts: int = 1


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
    def stream_gap(self) -> float | None:
        """What follows a kernel that was launched by itself; None of a row that was measured as graphs alone."""
        if "stream" not in self.row:
            return None
        layers, stream = self.row["layers"], self.row["stream"]
        half = (stream["whole"] - stream["half"]) / (layers - layers // 2)
        kernels = sum(TIMES[name] or 1 for name in self.removed)
        return float((half - self.layer) / kernels + self.gap)

    @property
    def prompts(self) -> int:
        """How many prompts the rows are of; of several only the attention was measured."""
        return int(self.row.get("prompts", 1))

    @property
    def unexplained(self) -> float:
        """By how much the kernels of a layer add up to something else than the layer, relative."""
        return sum(us * (TIMES[name] or 1) for name, us in self.removed.items()) / self.layer - 1

    @property
    def doubt(self) -> float:
        """By how much the kernels of a layer miss it: what is shorter than that is not known."""
        return abs(self.unexplained) * self.layer

    def known(self) -> Iterator[Part]:
        """The kernels that are longer than the layer's doubt, as they were measured."""
        if self.prompts > 1:
            yield from self._several()
            return
        for name, us in self.removed.items():
            if us > self.doubt:
                yield from self._parts(name, us - self.gap)
        for name, us in self._once().items():
            if us > self.doubt:
                yield self._part(name, max(LEAST, us - self.gap))

    def parts(self, estimate: Callable[[Part], float]) -> Iterator[Part]:
        """All kernels of a layer, adding up to it, then those that a step has once.

        A kernel that is not known takes what ``estimate`` says; the others are stretched by what is left.
        """
        if self.prompts > 1:
            yield from self._several()
            return
        removed, doubt = self.removed, self.doubt
        guessed = {
            name: min(estimate(self._part(name, 0.0)), max(LEAST, doubt)) for name, us in removed.items() if us <= doubt
        }
        kept = {name: max(LEAST, us - self.gap) for name, us in removed.items() if us > doubt}
        gaps = self.gap * sum(TIMES[name] or 1 for name in removed)
        left = self.layer - gaps - _total(guessed)
        stretch = left / _total(kept)
        for name, us in (guessed | {name: us * stretch for name, us in kept.items()}).items():
            yield from self._parts(name, us)
        for name, us in self._once().items():
            yield self._part(name, max(LEAST, us - self.gap) if us > doubt else estimate(self._part(name, 0.0)))

    def _several(self) -> Iterator[Part]:
        """Attention of several prompts."""
        yield self._part("attention", max(LEAST, self.removed["attention"] - self.gap))

    def _parts(self, name: str, us: float) -> Iterator[Part]:
        if name != "attention" or self.row["phase"] == "prefill":
            yield self._part(name, max(LEAST, us))
            return
        whole = dict(self.row["contexts"])
        for context, then in whole.items():
            beyond = (then - whole[self.row["base"]]) / self.row["layers"]
            yield self._part("attention", max(LEAST, us + beyond), context)

    def _once(self) -> dict[str, float]:
        """By how much a step is shorter without what it has once, gap included."""
        row = self.row
        once = {name: row["whole"] - row["without"][name] for name in ("head", "embedding")}
        once |= {name: us - row["whole"] for name, us in row["with"].items()}
        if row["phase"] == "prefill":
            del once["head"]  # it also gathers rows
        return once

    def _part(self, name: str, us: float, context: int = 0) -> Part:
        row = self.row
        return Part(row["model"], row["phase"], name, row["rows"], context, us, self.prompts)


def _total(us: Mapping[str, float]) -> float:
    return sum(one * (TIMES[name] or 1) for name, one in us.items())
