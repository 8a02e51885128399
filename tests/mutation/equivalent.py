"""Why a mutant that nothing kills is no fault: what it changes, no run can notice."""

from __future__ import annotations

FLAG = "a flag of a dataclass that nobody writes to, or asks the hash of"
STRICT = "`strict` refuses sequences of unequal length, and these have one length by construction"
STALE = "a booking is stale only while its kernel shares the device; it ends no sooner, so no other is planned by then"

REASONS: dict[tuple[str, str, str], str] = {
    ("sim.serving.row", "joined: int = 0", "0 becomes 1"):
        "a row that never joined has `left` 0: no counter lies between",
    ("sim.serving.server", "if self._named[0] is not batch.members:", "always self._named[0] is not batch.members"):
        "equal members have kept their slots: naming them again names the same",
    ("sim.serving.buckets", "@dataclass(frozen=True, slots=True)", "True becomes False"): FLAG,
    ("sim.serving.waiting", "self._cached: Callable[[Request], int] = lambda _: 0", "0 becomes 1"):
        "a scheduler binds its cache before it asks, and one number for all leaves their order",
    ("sim.serving.waiting", "for request, size in zip(requests, sizes, strict=True):", "True becomes False"): STRICT,
    ("sim.serving.scheduler", "if self.grow:", "always self.grow"):
        "blocks for all rows are reserved, and a row has left before it fills them",
    ("sim.machine.stream", "for kernel, call in zip(kernels, calls, strict=True):", "True becomes False"): STRICT,
    (
        "sim.machine.graph_run",
        "if event.value == self._version and self._planned is not None:",
        "and/or swapped in event.value == self._version and self._planned is not None",
    ): STALE,
    ("sim.machine.graph_run", "self._version += 1", "+= becomes -= in self._version += 1"):
        "versions are compared for equality alone; " + STALE,
    ("sim.machine.graph_run", "if start > clock.now:", "> becomes >= in start > clock.now"):
        "a start that is due now is taken now, or booked for now ahead of whatever the newcomer asks",
    ("sim.machine.device", "if other is not stream:", "always other is not stream"):
        "a stream that has just got its first kernel has none planned to hand over",
    ("sim.machine.events", "callback(self.time)", "left out: callback(self.time)"):
        "whoever subscribes has found the time unsettled: no caller comes here",
}  # fmt: skip
"""By module, line of code, and change."""
