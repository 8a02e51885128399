"""What the model is held against: a folder of measurements, and the machine as it is shipped."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scenarios.engine import EnginePreset
from scenarios.loader import load_engine, load_profile
from scenarios.profile import Profile
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.durations import Durations
from sim.program.ops import Kernel

CALLS = {"add_out": "elementwise", "mm_out": "gemm", "sleep5us": "sleep"}
"""The framework's operation behind each kernel that was measured in chains."""
SMALLEST = 1 / 132
"""The share of a kernel of one block."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number and what the model says, microseconds; ``fitted`` if a constant was made from it."""

    group: str
    name: str
    predicted: float
    measured: float
    fitted: bool = False

    @property
    def error(self) -> float:
        """Relative error of the prediction, in percent."""
        return 100 * (self.predicted / self.measured - 1)


@dataclass(frozen=True)
class Tables:
    """Parsed measurements beside the profile and the preset that predict them; microseconds as measured."""

    micro: dict[str, Any]
    micro2: dict[str, Any]
    profiled: dict[str, Any]
    profile: Profile
    engine: EnginePreset

    @classmethod
    def load(cls, folder: Path) -> Tables:
        """Read a folder of measurements with the profile and the preset of that machine; ``OSError`` if one lacks."""
        names = ("micro", "micro2", "profiled")
        tables = {name: json.loads((folder / f"{name}.json").read_text()) for name in names}
        return cls(
            **tables,
            profile=load_profile(str(folder / "profile.toml")),
            engine=load_engine(str(folder / "pytorch.toml")),
        )

    @cached_property
    def costs(self) -> HostCosts:
        """Host costs of plain PyTorch calls on this machine."""
        framework = self.engine.framework
        return HostCosts(Constants.of(self.profile), framework.by_kind, framework.default)

    @cached_property
    def durations(self) -> Durations:
        """Prices of kernels by the profile."""
        return Durations(self.profile)

    def scaled(self, scale: float) -> HostCosts:
        """The same host, drifted by this factor."""
        return replace(self.costs, scale=scale)

    def chain(self, op: str, n: int) -> dict[str, Any]:
        """The measured row of a chain."""
        row: dict[str, Any] = next(r for r in self.micro["chains"] if (r["op"], r["n"]) == (op, n))
        return row

    def kernel(self, op: str) -> Kernel:
        """The kernel of a chain, as long as the profiler stamped it."""
        return Kernel(op, CALLS[op], nanoseconds(self.profiled[f"{op}_stream"]["dur"]["p50"]))

    def sleep(self, us: float) -> Kernel:
        """A kernel that spins for so long: it lasts a little longer, as the profiler stamped the one of 5us."""
        beyond = self.profiled["sleep5us_stream"]["dur"]["p50"] - 5
        return Kernel("sleep", "sleep", nanoseconds(us + beyond), SMALLEST)

    def add(self, elements: int) -> Kernel:
        """A sum of two vectors of float32."""
        return self.durations.kernel("add", "elementwise", "elementwise", nbytes=12 * elements)

    def square(self, n: int) -> Kernel:
        """A product of two square matrices of bfloat16."""
        return self.durations.kernel("mm", "gemm", "gemm", flops=2 * n**3, nbytes=6 * n * n, rows=n, shape=(n, n))


def nanoseconds(us: float) -> int:
    """A measured time as the machine counts it."""
    return round(1000 * us)
