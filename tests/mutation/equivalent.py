"""Why a mutant that nothing kills is no fault: what it changes, no run can notice."""

from __future__ import annotations

FLAG = "a flag of a dataclass that nobody writes to, or asks the hash of"
STRICT = "`strict` refuses sequences of unequal length, and these have one length by construction"
VERSION = "versions are compared for equality alone"
STALE = "a booking is stale only while its kernel shares the device; it ends no sooner, so no other is planned by then"

REASONS: dict[tuple[str, str, str], str] = {
    ("sim.serving.decoding", "if not self.grow:", "never not self.grow"):
        "a shortcut: where nobody grows nobody fills a block, and the way round counts none",
    ("sim.serving.row", "@dataclass(eq=False, slots=True)", "False becomes True"):
        "rows are told apart by identity alone",
    ("sim.serving.prefix_cache", "self._version += 1", "+= becomes -= in self._version += 1"):
        VERSION + ", and where nothing was matched the length beside it is none of a prompt's",
    ("sim.machine.stream", "elif isinstance(op, Collective):", "always isinstance(op, Collective)"):
        "no other kind of operation is left",
    ("sim.machine.device", "if len(self.live) > 1:", "always len(self.live) > 1"):
        "where one stream is live there is no other to hand over",
    ("sim.machine.events", "if self.time is not None:", "never self.time is not None"):
        "whoever subscribes has found the time unsettled",
    ("sim.machine.sharing", "execution.version += 1", "left out: execution.version += 1"):
        "what has ended has no booking of its last version left, and what spins has none",
    ("sim.serving.row", "joined: int = 0", "0 becomes 1"):
        "a row that never joined has `left` 0: no counter lies between",
    ("sim.serving.prefix_cache", "@dataclass(eq=False, slots=True)", "True becomes False"):
        "`slots` saves memory alone",
    ("sim.serving.prefix_cache", "self._root = _Node(None, 0, [])", "0 becomes 1"):
        "nobody asks the root for its key",
    ("sim.serving.prefix_cache", "used: int = 0", "0 becomes 1"): "it is set before a node is offered, and read after",
    ("sim.serving.prefix_cache", "self._tick = 0", "0 becomes 1"): "ticks are compared with each other alone",
    ("sim.serving.prefix_cache", "self._version = 0", "0 becomes 1"): VERSION,
    ("sim.serving.prefix_cache", "self._version += 1", "1 becomes 2"): VERSION,
    (
        "sim.serving.prefix_cache",
        "version, length, path = self._matched.get(request.id, (-1, 0, []))",
        "1 becomes 2",
    ): "no version is negative",
    (
        "sim.serving.prefix_cache",
        "version, length, path = self._matched.get(request.id, (-1, 0, []))",
        "0 becomes 1",
    ): "the version beside it already matches nothing",
    (
        "sim.serving.prefix_cache",
        "if (version, length) == (self._version, prompt):",
        "never (version, length) == (self._version, prompt)",
    ): "what was matched is only kept: the walk that it saves finds the same",
    ("sim.serving.server", "if self._named[0] is not batch.members:", "always self._named[0] is not batch.members"):
        "equal members have kept their slots: naming them again names the same",
    ("sim.serving.buckets", "@dataclass(frozen=True, slots=True)", "True becomes False"): FLAG,
    ("sim.serving.waiting", "if len(taken) == len(requests):", "never len(taken) == len(requests)"):
        "a shortcut: the way round takes nobody else out of the queue",
    ("sim.serving.waiting", "self._cached: Callable[[Request], int] = lambda _: 0", "0 becomes 1"):
        "a scheduler binds its cache before it asks, and one number for all leaves their order",
    ("sim.serving.waiting", "for request, size in zip(requests, sizes, strict=True):", "True becomes False"): STRICT,
    ("sim.machine.stream", "self._submit = self._correlation = self._step = 0", "0 becomes 1"):
        "all three are set when an entry comes to the head, before anything reads them",
    ("sim.machine.stream", "self._version = 0", "0 becomes 1"): VERSION,
    ("sim.machine.stream", "self._version = version = self._version + 1", "1 becomes 2"): VERSION,
    ("sim.machine.stream", "self._version += 1", "1 becomes 2"): VERSION,
    ("sim.machine.stream", "launch = 0", "0 becomes 1"):
        "the queue holds a launch at least, so whoever enqueues number 1 never waits",
    ("sim.machine.stream", "self.push(Record(None), 0, 0, -1, mark)", "1 becomes 2"):
        "the step of a record is in no span",
    ("sim.machine.stream", "for kernel, call in zip(kernels, calls, strict=True):", "True becomes False"): STRICT,
    (
        "sim.machine.graph_run",
        "if event.value == self._version and self._planned is not None:",
        "and/or swapped in event.value == self._version and self._planned is not None",
    ): STALE,
    ("sim.machine.graph_run", "self._version = 0", "0 becomes 1"): VERSION,
    ("sim.machine.graph_run", "self._version += 1", "1 becomes 2"): VERSION,
    ("sim.machine.graph_run", "self._version += 1", "+= becomes -= in self._version += 1"): VERSION + "; " + STALE,
    ("sim.machine.graph_run", "if start > clock.now:", "> becomes >= in start > clock.now"):
        "a start that is due now is taken now, or booked for now ahead of whatever the newcomer asks",
    ("sim.machine.host", "if held + free:", "+ becomes - in held + free"): "in every call one of the two is 0",
    ("sim.machine.host", "if mark.time is None:", "always mark.time is None"):
        "a mark that is settled calls back at once, in the same instant",
    ("sim.machine.device", "if other is not stream:", "always other is not stream"):
        "a stream that has just got its first kernel has none planned to hand over",
    ("sim.machine.events", "callback(self.time)", "left out: callback(self.time)"):
        "whoever subscribes has found the time unsettled: no caller comes here",
    ("sim.machine.sharing", "self.version = 0", "0 becomes 1"): VERSION,
    ("sim.machine.sharing", "execution.version += 1", "1 becomes 2"): VERSION,
}  # fmt: skip
"""By module, line of code, and change."""
