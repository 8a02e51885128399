"""The time of a repeating step without simulating it: the largest mean weight of a cycle of its matrix."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sim.fast.composition import HOST, Composition
from sim.fast.launch_queue import NEVER
from sim.timeline.spans import Column

Bound = Literal["host", "device", "turns"]


@dataclass(frozen=True, slots=True)
class Cycle:
    """What a repeating step takes, in nanoseconds, and why.

    ``host`` is what the host thread needs a step, waits not included, ``calls`` of them for ``launches`` calls that
    enqueue; ``device`` is what the device needs. ``bound`` says whose cycle wins: ``turns`` when one goes through
    both, since each waits for the other.
    """

    step: Fraction
    host: int
    device: Fraction
    launches: int
    calls: int
    bound: Bound

    def __str__(self) -> str:
        """Such as ``launching 848 operations at 5.9 us each: host-bound by 3.1x``."""
        launching = (
            f"launching {self.launches} operations at {_us(Fraction(self.calls, max(1, self.launches)))} us each"
        )
        host = launching if 2 * self.calls >= self.host else f"{_us(self.host)} us of host work a step"
        device = f"{_us(self.device)} us of device work a step"
        if self.bound == "host":
            return f"{host}: host-bound{_by(self.host, self.device)}"
        if self.bound == "device":
            return f"{device}: device-bound{_by(self.device, self.host)}"
        longer, words, other = (self.host, host, "device") if self.host > self.device else (self.device, device, "host")
        return f"{words}, and then {_us(self.step - longer)} us of waiting for the {other}"


def cycle_of(composition: Composition) -> Cycle:
    """The cycle time of a composed step."""
    matrix = composition.matrix[0]
    step = largest_mean(matrix)
    host = composition.host_ns
    inside = [i for i, (kind, _) in enumerate(composition.variables) if kind not in {HOST, "mark"}]
    device = largest_mean(matrix[inside][:, inside])
    bound: Bound = "host" if step == host else "device" if step == device else "turns"
    return Cycle(step, host, device, composition.launches, composition.call_ns, bound)


def largest_mean(matrix: Column) -> Fraction:
    """The largest mean weight of a cycle, by Karp's theorem; 0 for a matrix without one.

    ``matrix[i, j]`` is what leads from variable ``j`` to ``i``, below ``NEVER / 2`` for nothing.
    """
    number = len(matrix)
    longest = [[0] * number]  # the heaviest walk of so many edges that ends in each variable
    for _ in range(number):
        before = longest[-1]
        longest.append([
            max(
                (before[j] + int(matrix[i, j]) for j in range(number) if matrix[i, j] > NEVER // 2),
                default=NEVER,
            )
            for i in range(number)
        ])  # fmt: skip
    means = [
        min(Fraction(end - start, number - edges) for edges, start in enumerate(starts) if start > NEVER // 2)
        for *starts, end in zip(*longest, strict=True)
        if end > NEVER // 2
    ]
    return max(means, default=Fraction(0))


def _us(ns: int | Fraction) -> str:
    value = float(ns) / 1000
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _by(longer: int | Fraction, shorter: int | Fraction) -> str:
    return f" by {float(longer / shorter):.1f}x" if shorter else ""
