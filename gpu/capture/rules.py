"""What a CUDA graph cannot hold, what it holds only as it was, and what to do instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """Why something is refused or freezes, and what to do about it."""

    why: str
    advice: str


RULES = {
    "host-read": Rule(
        "the host reads a value of the device, for which it must wait, and a stream that is captured does not run",
        "keep the value on the device (torch.where, index operations), or read it after the replay",
    ),
    "dynamic-shape": Rule(
        "the size of a result depends on values, so that the host must wait for them",
        "compute all elements and mask (torch.where), or pad to a fixed size",
    ),
    "synchronize": Rule(
        "the host waits for the device, and a stream that is captured does not run",
        "wait after the replay",
    ),
    "optimizer": Rule(
        "the optimizer counts its steps on the host, where a replay does not count",
        "make it with capturable=True",
    ),
    "pageable-copy": Rule(
        "a copy between the device and pageable host memory waits for the device",
        "copy into a device tensor before the replay, or from a pinned tensor that is kept, with non_blocking=True",
    ),
    "pinned-allocation": Rule(
        "a replay copies from pinned memory that was free again after the capture: it may fail, or find anything there",
        "allocate the pinned tensor once, outside, keep it, and write into it",
    ),
    "replay-raises": Rule(
        "a replay raised an error: what the graph reads or writes is no longer there",
        "keep every tensor that the graph uses",
    ),
    "event": Rule(
        "a query of an event or a stream, or a wait for it by the host, asks a captured stream for its progress",
        "ask after the replay",
    ),
    "allocation": Rule(
        "memory was taken from or given back to the driver itself, which a capture forbids",
        "allocate through torch's caching allocator, whose capture pool a graph keeps, and leave its cache alone",
    ),
    "rng-state": Rule(
        "the state of a random generator was read or set, or a generator is used that the graph does not know",
        "seed outside; make other generators known with graph.register_generator_state(generator)",
    ),
    "default-stream": Rule(
        "work was sent to the default stream, which cannot be captured",
        "launch on the current stream, or on one that was forked from it with wait_stream",
    ),
    "unjoined": Rule(
        "a side stream was forked from the captured one and never joined",
        "let the captured stream wait for it before the end: torch.cuda.current_stream().wait_stream(side)",
    ),
    "uncaptured-stream": Rule(
        "work went to a stream that was never forked from the captured one: it ran once, during the capture",
        "fork it first: side.wait_stream(torch.cuda.current_stream()), and join it again",
    ),
    "conditional": Rule(
        "a branch on a value of the device was left to the host",
        "compute both sides and choose with torch.where, or split the graph at the branch",
    ),
    "branch": Rule(
        "Python took another way with other inputs; a replay takes the way that was taken during the capture",
        "decide outside and capture a graph for each way, or compute both sides and choose with torch.where",
    ),
    "another-call": Rule(
        "Python did something else at the next call with the same inputs; a replay does what was captured",
        "capture one graph for each kind of call and choose outside",
    ),
    "number": Rule(
        "a number of the host depends on the inputs; a replay uses the one of the capture",
        "hand it over in a device tensor that is written before the replay",
    ),
    "counter": Rule(
        "a number of the host changes from call to call; a replay uses the one of the capture",
        "keep it in a device tensor: add to it in the function, or write it before the replay",
    ),
    "address": Rule(
        "a tensor that was made outside lies somewhere else at the next call; a replay reads and writes the old place",
        "keep one tensor and copy into it",
    ),
    "shape": Rule(
        "an input's shape changes; a graph holds one shape",
        "capture a graph for each of a few sizes (buckets) and pad up to the next",
    ),
    "host-tensor": Rule(
        "work on tensors of the host is no part of a graph; it was done once, during the capture",
        "keep the tensor on the device",
    ),
    "returned-value": Rule(
        "a Python value is returned; after a replay it is the capture's",
        "return a tensor",
    ),
    "raises": Rule(
        "the function raises an error on its own, without any capture",
        "make it run first",
    ),
    "unknown": Rule(
        "what broke the capture is not among the rules known here",
        "see the error's text",
    ),
    "differs": Rule(
        "a replay's results differ from those of the function, and none of its calls tells why",
        "look for work that torch does not dispatch: kernels of your own, or state in a library",
    ),
}

MESSAGES = (
    ("capturable", "optimizer"),
    ("CUDAGeneratorImpl", "rng-state"),
    ("register_generator_state", "rng-state"),
    ("generator", "rng-state"),
    ("unjoined", "unjoined"),
    ("legacy stream", "default-stream"),
    ("default stream", "default-stream"),
    ("unless the CPU tensor is pinned", "pageable-copy"),
)
"""Words of error messages that name a rule by themselves."""

SOURCES = (
    ("synchronize(", "synchronize"),
    (".query(", "event"),
    ("pin_memory", "pinned-allocation"),
    ("empty_cache", "allocation"),
    ("rng_state", "rng-state"),
    ("torch.cond", "conditional"),
    (".item(", "host-read"),
    (".tolist(", "host-read"),
    (".cpu(", "pageable-copy"),
    (".to(", "pageable-copy"),
    (".cuda(", "pageable-copy"),
)
"""Words of a line that raised, where neither the message nor the operation names the rule."""
