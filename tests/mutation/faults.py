# ruff: noqa: E501  snippets stand as they are
"""Faults as one makes them: each a snippet of a module, and what stands there by mistake."""

from __future__ import annotations

from dataclasses import dataclass

from harness import source_of


@dataclass(frozen=True, slots=True)
class Fault:
    """``found`` occurs once in the module, ``instead`` stands in its place."""

    what: str
    module: str
    found: str
    instead: str

    @property
    def source(self) -> str:
        """The module with the fault in it; raises ``ValueError`` when the snippet is no longer there exactly once."""
        source = source_of(self.module)
        if source.count(self.found) != 1:
            raise ValueError(f"{self.module} holds {self.found!r} {source.count(self.found)} times: renew this fault")
        return source.replace(self.found, self.instead)


SCHEDULER, CACHE, MAP, SERVER = (f"sim.serving.{name}" for name in ("scheduler", "kv_cache", "future_map", "server"))
STREAM, GRAPH, HOST, DEVICE, EVENTS = (f"sim.machine.{n}" for n in ("stream", "graph_run", "host", "device", "events"))
LOOPS, BUCKETS, WAITING, BATCH = "sim.loops", "sim.serving.buckets", "sim.serving.waiting", "sim.serving.batch"
PREFIX, DECODING = "sim.serving.prefix_cache", "sim.serving.decoding"

FAULTS = (
    Fault("a request's blocks are never freed", SCHEDULER, "                self.kv.free(number)\n                del self._rows[number]\n", "                del self._rows[number]\n"),
    Fault("a stop is processed twice", SCHEDULER,
          "            row = self._rows[number]\n            if not row.finished:\n",
          "            row = self._rows[number]\n            if row.request.id >= 0:\n"),
    Fault("a row that has ended stays in the batch", SCHEDULER, "        row.finished = True\n        self._leave(row)\n",
          "        row.finished = True\n"),
    Fault("blocks are freed before the late row is processed", SCHEDULER, "            last = later\n", ""),
    Fault("late rows are not told", SCHEDULER, "                later.late += (row.request.id,)\n", "                pass\n"),
    Fault("an end by length is seen one step late", DECODING,
          "        self._ends.add(self._counter + request.max_tokens - row.before, row)",
          "        self._ends.add(self._counter + request.max_tokens - row.before + 1, row)"),
    Fault("the attended tokens do not grow", DECODING, "        self._context += rows\n", ""),
    Fault("a row that leaves takes a token too few along", DECODING,
          "            self._context -= row.prompt + 1 + self._counter - row.joined",
          "            self._context -= row.prompt + self._counter - row.joined"),
    Fault("joined rows are told again and again", DECODING, "        self._joined = []\n", ""),
    Fault("results are taken out of order", SCHEDULER, "        self.in_flight.popleft()\n", "        self.in_flight.pop()\n"),
    Fault("the batch after a change is the one before", DECODING,
          "            row.left = self._counter\n            self._members = None\n", "            row.left = self._counter\n"),
    Fault("one row too many is admitted", SCHEDULER, "        rows = self.max_rows - len(self._running) - len(self._partial)\n",
          "        rows = self.max_rows + 1 - len(self._running) - len(self._partial)\n"),
    Fault("a block too few is reserved", SCHEDULER,
          "        self.kv.allocate(request.id, prompt + 1 if self.grow else self._most(request))\n",
          "        self.kv.allocate(request.id, prompt if self.grow else request.context)\n"),
    Fault("a preempted request keeps its blocks", SCHEDULER,
          "            self.kv.free(request.id)\n            del self._rows[request.id]\n",
          "            del self._rows[request.id]\n"),
    Fault("a preempted request forgets what it had received", SCHEDULER,
          "            self._received[request.id] = row.before + self._counter - row.joined if running else row.received\n",
          "            self._received[request.id] = 0\n"),
    Fault("a request is preempted while a step computes it", SCHEDULER,
          "            if self.in_flight:\n                return None\n            self._preempt()\n",
          "            self._preempt()\n"),
    Fault("a block comes one token late", DECODING,
          "            self._grows.add(self._counter + room + 1, row)",
          "            self._grows.add(self._counter + room + 2, row)"),
    Fault("preempted requests come back in reverse", SCHEDULER, "        back.reverse()\n", ""),
    Fault("steps are numbered from 1 at times", SCHEDULER, "        self._index += 1\n",
          "        self._index += 1 + (self._index == 3)\n"),
    Fault("a request of one token decodes once more", SCHEDULER, "        if request.max_tokens > row.before:\n",
          "        if request.max_tokens >= row.before:\n"),
    Fault("the first token is told with the second", BATCH,
          "[chunk.request for chunk in self.prompts if chunk.output == 1 and",
          "[chunk.request for chunk in self.prompts if chunk.output == 2 and"),
    Fault("a block is handed out twice", CACHE, "        self._untouched += fresh\n", ""),
    Fault("returned blocks are lost", CACHE, "        self._returned.extend(reversed(self._tables.pop(request)))",
          "        self._tables.pop(request)"),
    Fault("blocks are rounded down", CACHE, "        return -(-tokens // self.block_tokens)",
          "        return max(1, tokens // self.block_tokens)"),
    Fault("a table is returned and kept", CACHE, "reversed(self._tables.pop(request))", "reversed(self._tables[request])"),
    Fault("the ring is one slot longer than its buffer", MAP,
          "        start = self._next if self._next + count <= self.capacity else 0",
          "        start = self._next if self._next + count <= self.capacity + 1 else 0"),
    Fault("the ring starts over at its second slot", MAP,
          "        start = self._next if self._next + count <= self.capacity else 0",
          "        start = self._next if self._next + count <= self.capacity else self.capacity - count + 1"),
    Fault("the ring does not go on", MAP, "        self._next = stop\n", ""),
    Fault("a request's slot is given away while it runs", MAP,
          "        slot = self._slots[request] = self._free.pop()", "        slot = self._slots[request] = self._free[-1]"),
    Fault("a request's slot is not given back", MAP, "        self._free.append(self._slots.pop(request))",
          "        self._slots[request]"),
    Fault("slots are released though a step may read them", SERVER, "            if step not in self._read:\n",
          "            if step >= 0:\n"),
    Fault("slots are never released", SERVER,
          "            for index in self._reads.pop(step, ()):\n                self.slots.release(index)\n",
          "            for index in self._reads.pop(step, ()):\n"),
    Fault("a step reads only the step before it", SERVER, "            if batch.phase is not Phase.PREFILL:\n                break\n",
          "            break\n"),
    Fault("prefills run with a graph of decode", SERVER,
          "        if self.buckets is not None and batch.phase is Phase.DECODE:", "        if self.buckets is not None:"),
    Fault("a graph below the batch's size is chosen", BUCKETS, "        position = bisect_left(self.sizes, rows)\n",
          "        position = max(0, bisect_left(self.sizes, rows) - 1)\n"),
    Fault("who has come last goes first", WAITING, "        self._requests.append(request)\n",
          "        self._requests.appendleft(request)\n"),
    Fault("a kernel does not wait for the one before it", STREAM, "        in_order = max(self.free_at, self._floor) + gap\n",
          "        in_order = self._floor + gap\n"),
    Fault("an event that a stream waits for is forgotten", STREAM, "                self._floor = max(self._floor, mark.time)\n",
          "                self._floor = self._floor\n"),
    Fault("a record fires before the work ahead of it", STREAM,
          "                fired = max(self.free_at, self._floor, submit)\n", "                fired = submit\n"),
    Fault("two replays of one executable run at once", DEVICE, "        if self._line[0] == correlation:\n",
          "        if self._line:\n"),
    Fault("a backlogged kernel starts without its gap", STREAM,
          "                self._request(submit + constants.launch_latency, constants.stream_gap)",
          "                self._request(submit + constants.launch_latency, 0)"),
    Fault("a launch takes no latency", STREAM,
          "                self._request(submit + constants.launch_latency, constants.stream_gap)",
          "                self._request(submit, constants.stream_gap)"),
    Fault("a kernel of a graph does not wait for all", GRAPH, "                if not self._missing[later]:\n",
          "                if self._missing[later] <= 1:\n"),
    Fault("the kernels of a graph follow without a gap", GRAPH,
          "        start = device.clock.now + device.constants.graph_gap\n", "        start = device.clock.now\n"),
    Fault("a replay never ends", GRAPH, "        self._executable.release(self._stream.device.clock.now)\n", ""),
    Fault("the queue is one launch deeper", HOST, "                while entry - stream.started(now) > self._depth:\n",
          "                while entry - stream.started(now) > self._depth + 1:\n"),
    Fault("a train of launches overfills the queue", HOST, "        room = self._depth - stream.slots - 1\n",
          "        room = self._depth - stream.slots + 2\n"),
    Fault("a first replay costs as much as any", HOST, "            api += self.machine.costs.first_replay(op)\n", ""),
    Fault("a wake-up is always paid", HOST,
          "        late = fired + constants.wake(device=device, blocking=blocking) if fired > start else NEVER\n",
          "        late = max(fired, start) + constants.wake(device=device, blocking=blocking)\n"),
    Fault("a wait returns when it is called", HOST, "        yield from self._until(max(least, late))\n",
          "        yield from self._until(least)\n"),
    Fault("a pageable copy returns at once", HOST, "                    now = end + self.machine.costs.constants.wake_spin if end > now else now\n",
          "                    now = min(end, now)\n"),
    Fault("host work takes no time", HOST, "        yield from self._spend(self._draw(self.machine.costs.work_ns(effect.name, *size)))\n",
          "        yield from self._spend(0)\n"),
    Fault("a wait for the device looks at one stream", DEVICE, "        if any(not s.drained for s in self.streams.values()):\n",
          "        if any(not s.drained for s in list(self.streams.values())[:1]):\n"),
    Fault("two copies of a direction run at once", DEVICE, "        self._free_at = start + ns\n", ""),
    Fault("the front end does not switch", DEVICE,
          "        return max(ready + (self.constants.stream_switch if backlog else 0), self._free_from)",
          "        return ready"),
    Fault("an event fires a nanosecond early", EVENTS, "        self.time = time\n", "        self.time = time - 1\n"),
    Fault("a batch is processed before its step has ended", LOOPS,
          "    yield (yield from digest(server, batch, (yield from wait(step))))\n",
          "    yield (yield from digest(server, batch, StepResult(0)))\n"),
    Fault("the last batch is never processed", LOOPS,
          "            current = batch, (yield from launch(Phase(batch, OVERLAP_PARTS)))\n        if previous is not None:\n            yield from deliver(server, *previous)\n        previous = current\n\n\ndef graphs",
          "            current = batch, (yield from launch(Phase(batch, OVERLAP_PARTS)))\n        if previous is not None and batch is not None:\n            yield from deliver(server, *previous)\n        previous = current if batch is not None else previous\n\n\ndef graphs"),
    Fault("a request is cancelled and its prompt goes on", SCHEDULER, "        self._partial.pop(number, None)\n        last = self._end(row, None)\n",
          "        last = self._end(row, None)\n"),
    Fault("a cancelled request's blocks return while a step computes it", SCHEDULER, "        if last is not None:\n            self._freed_with",
          "        if last is None:\n            self._freed_with"),
    Fault("a cancelled request keeps its slot", SERVER, "        if self.scheduler.cancel(request) and isinstance(self.slots, RequestSlots):\n            self.slots.release(request)\n",
          "        self.scheduler.cancel(request)\n"),
    Fault("a cancelled request's first token is told", BATCH, "if chunk.output == 1 and chunk.request.id not in late]", "if chunk.output == 1]"),
    Fault("one request too many loses its blocks", SCHEDULER, "        while self._growth > self.kv.num_free:\n", "        while self._growth >= self.kv.num_free:\n"),
    Fault("a prompt is taken from the cache to its last token", PREFIX, "min(request.context, prompt - 1)", "min(request.context, prompt)"),
    Fault("blocks that were given away are still found", PREFIX, "            del parent.children[node.key]\n", ""),
    Fault("blocks that somebody uses are given away", PREFIX, "            if node.users or node.children or node.used != used", "            if node.children or node.used != used"),
)  # fmt: skip
"""Of the scheduler, the KV cache, the FutureMap, the server, the queue, streams, graphs, events, hosts and loops."""


def attacks_on(module: str) -> tuple[str, ...]:
    """The attacks that are likeliest to find a fault of a module, first to last."""
    if module.startswith("sim.machine"):
        return ("programs", "neighbours", "teams", "again", "worlds")
    return ("server", "worlds", "again") if module.startswith("sim.serving") else ("worlds", "again")
