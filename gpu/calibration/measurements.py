"""The tables of a folder of measurements, in microseconds, as a fit reads them.

Of the chains of kernels only those of 1 and 100 kernels can be read: the others are kept to test predictions against.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Measurements:
    """The parsed files of a folder of results. ``cupti`` is empty where no folder has it: a profile does without."""

    micro: dict[str, Any]
    micro2: dict[str, Any]
    families: dict[str, Any]
    profiled: dict[str, Any]
    cupti: dict[str, Any] = field(default_factory=dict)

    def duration(self, op: str) -> float:
        """How long the kernel of this operation runs, by the profiler's stamps."""
        return float(self.profiled[f"{op}_stream"]["dur"]["p50"])

    def chain(self, op: str, column: str, n: int) -> float:
        """A column (its median, if it is a distribution) of the chain of ``n`` such kernels.

        Raises `ValueError` for any ``n`` but 1 and 100.
        """
        if n not in (1, 100):
            raise ValueError(f"the chain of {n} kernels is held out")
        row = next(r for r in self.micro["chains"] if r["op"] == op and r["n"] == n)
        return float(row[column]["median_us"] if isinstance(row[column], dict) else row[column])

    def chain_slope(self, op: str, column: str) -> float:
        """Microseconds a kernel between chains of 1 and 100."""
        return (self.chain(op, column, 100) - self.chain(op, column, 1)) / 99

    def bodies(self) -> list[str]:
        """Names of the measured graph bodies."""
        return list(dict.fromkeys(r["body"] for r in self.micro2["graph_launch"]))

    def body(self, name: str, column: str, n: int) -> float:
        """A column of the graph of ``n`` times this body."""
        return float(next(r[column] for r in self.micro2["graph_launch"] if r["body"] == name and r["n"] == n))

    def body_slope(self, name: str) -> float:
        """Microseconds an iteration of a graph body in back-to-back replays."""
        return (self.body(name, "pipelined", 800) - self.body(name, "pipelined", 100)) / 700


def load(folder: Path) -> Measurements:
    """Read the tables that a fit needs. Raises `OSError` when one is missing."""
    files = {name: folder / f"{name}.json" for name in Measurements.__slots__}
    if not files["cupti"].exists():
        del files["cupti"]
    return Measurements(**{name: json.loads(path.read_text()) for name, path in files.items()})
