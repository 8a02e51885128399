"""The tables of a folder of measurements, in microseconds, as a fit reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.errors import Problem, ScenarioError

OPTIONAL = ("programs", "chunks")


@dataclass(frozen=True, slots=True)
class Measurements:
    """The parsed files of a folder of results; each is written by the measuring module of its name.

    ``programs`` and ``chunks`` are missing where they were not measured.
    """

    host: dict[str, Any]
    device: dict[str, Any]
    kernels: dict[str, Any]
    layers: dict[str, Any]
    engine: dict[str, Any]
    profiled: dict[str, Any]
    programs: dict[str, Any] | None = None
    chunks: dict[str, Any] | None = None

    def duration(self, op: str) -> float:
        """How long the kernel of this operation runs, by the profiler's stamps."""
        return float(self.profiled[f"{op}_stream"]["dur"]["p50"])

    def chain(self, op: str, column: str, n: int) -> float:
        """A column of the chain of ``n`` such kernels, 1 or 100."""
        return float(next(r[column] for r in self.device["chains"] if r["op"] == op and r["n"] == n))

    def chain_slope(self, op: str, column: str) -> float:
        """Microseconds a kernel between chains of 1 and 100."""
        return (self.chain(op, column, 100) - self.chain(op, column, 1)) / 99

    def bodies(self) -> list[str]:
        """Names of the measured graph bodies."""
        return list(dict.fromkeys(r["body"] for r in self.device["graph_launch"]))

    def body(self, name: str, column: str, n: int) -> float:
        """A column of the graph of ``n`` times this body."""
        return float(next(r[column] for r in self.device["graph_launch"] if r["body"] == name and r["n"] == n))

    def body_slope(self, name: str) -> float:
        """Microseconds an iteration of a graph body in back-to-back replays."""
        return (self.body(name, "pipelined", 800) - self.body(name, "pipelined", 100)) / 700


def load(folder: Path) -> Measurements:
    """Read the tables that a fit needs; raises ``ScenarioError`` for one that is missing or holds an error."""
    found, problems = {}, []
    for name in Measurements.__slots__:
        path = folder / f"{name}.json"
        if name in OPTIONAL and not path.exists():
            continue
        if not path.exists():
            problems.append(Problem(str(path), "", "no such file, expected what the calibration writes"))
            continue
        found[name] = json.loads(path.read_text())
        if isinstance(once := found[name].get("prefill"), dict):  # an older campaign took it once
            found[name]["prefill"] = [once]
        problems += [
            Problem(str(path), part, f"could not be measured: {table['error']}")
            for part, tables in found[name].items()
            for table in (tables if isinstance(tables, list) else [tables])
            if isinstance(table, dict) and "error" in table
        ]
    if problems:
        raise ScenarioError(problems)
    return Measurements(**found)
