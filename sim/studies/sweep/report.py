"""What a sweep says when it is done: in a few lines, and as one object for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.studies.sweep.axes import Axis
from sim.studies.sweep.evaluate import Row
from sim.studies.sweep.picture import LINES, PAYS

SHOWN = 3
"""Reasons that are told, the most frequent first."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """The rows of all points, how many were ``known`` before, and the files that were written."""

    rows: Sequence[Row]
    axes: Sequence[Axis]
    modes: Sequence[str]
    known: int
    files: Sequence[Path]

    @property
    def answered(self) -> list[Row]:
        """The rows of points that could be run."""
        return [row for row in self.rows if row["error"] is None]

    @property
    def checked(self) -> int:
        """Points that the reference machine has computed, too."""
        return sum(row.get("equal") is not None for row in self.rows)

    @property
    def bounds(self) -> tuple[Row, Row]:
        """The points at which the last mode gains least and most over the first."""
        key = f"{self.modes[-1]}.speedup"
        ranked = sorted(self.answered, key=lambda row: row[key])
        return ranked[0], ranked[-1]

    def lines(self) -> Iterator[str]:
        """For people."""
        rows, answered = self.rows, self.answered
        failed = len(rows) - len(answered)
        known = f"{len(rows)} points, {self.known} of them known before"
        yield f"{known}, {failed} that cannot be run; {self.checked} checked"
        for error, count in Counter(row["error"] for row in rows if row["error"]).most_common(SHOWN):
            yield f"cannot be run, {count}: {error}"
        for why, count in Counter(row["alone"] for row in answered if row.get("alone")).most_common(SHOWN):
            yield f"simulated one by one, {count}: {why}"
        if len(self.modes) > 1:
            mode, base = self.modes[-1], self.modes[0]
            least, most = (f"{row[f'{mode}.speedup']:.2f}x at {self._place(row)}" for row in self.bounds)
            yield f"{mode} over {base}: {least} to {most}"
        for name, pair in paying(self.modes).items():
            pays = sum(gain(row, *pair) >= PAYS for row in answered)
            verb = "pays" if name == "overlap" else "pay"
            yield f"{name} {verb} at {pays} of {len(answered)} points: {' over '.join(pair)} gains 1 % or more"
        yield from (f"wrote {path}" for path in self.files)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        found: dict[str, Any] = {
            "points": len(self.rows), "known": self.known, "failed": len(self.rows) - len(self.answered),
            "checked": self.checked, "equal": all(row.get("equal") is not False for row in self.rows),
            "modes": list(self.modes), "axes": {axis.key: list(axis.values) for axis in self.axes},
            "files": [str(path) for path in self.files],
        }  # fmt: skip
        if len(self.modes) > 1:
            found["least"], found["most"] = self.bounds
            for name, pair in paying(self.modes).items():
                found[f"{name}_pays"] = sum(gain(row, *pair) >= PAYS for row in self.answered)
        return found | {"rows": list(self.rows)}

    def _place(self, row: Row) -> str:
        values = {axis.key: row[axis.key] for axis in self.axes}
        return ", ".join(f"{k}={v:g}" if isinstance(v, int | float) else f"{k}={v}" for k, v in values.items())


def paying(modes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Of graphs and of overlap, the modes whose ratio says whether it pays, if both were run."""
    found = {name: next((pair for pair in pairs if set(pair) <= set(modes)), None) for name, pairs in LINES.items()}
    return {name: pair for name, pair in found.items() if pair is not None}


def gain(row: Row, mode: str, base: str) -> float:
    """How many times faster one mode is than another at a point."""
    found: float = row[f"{mode}.speedup"] / row[f"{base}.speedup"]
    return found
