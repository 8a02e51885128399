"""What a host thread of a program does: launch kernels and copies, record and wait for events, think.

Ops that go to the device name their stream; streams exist by being named. A `graph` is a body that mode
eager launches op by op and mode graph captures once and launches as one. Whether a body with several
streams joins them again before it ends is for the capture to judge, not for the schema.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from scenarios.errors import Bare, Place, Refusal, Refusals, listed
from scenarios.table import Bytes, Count, Duration, NonEmpty, Table


def _no_name(value: object) -> object:
    if isinstance(value, str):
        raise Refusal(value, _PARAMETER)
    return value


_PARAMETER = "an integer of at least 1, or 'n' or 'count' if the file sets it"

# `Program` puts the integers in for names of parameters beforehand, so a name here is one nobody sets.
Size = Annotated[Count, BeforeValidator(_no_name), Field(description=_PARAMETER)]
"""An integer in the schema; in a file also the name of one of the program's parameters, "n" or "count"."""


class Matmul(Table):
    """A matrix product of [m, k] by [k, n] in a two-byte type."""

    op: Literal["matmul"]
    m: Size
    n: Size
    k: Size
    stream: str = "main"


class Add(Table):
    """An elementwise addition of two vectors."""

    op: Literal["add"]
    elements: Size
    stream: str = "main"


class Sleep(Table):
    """A kernel that does nothing for a duration, on a share `sm` of the multiprocessors (an H200 has 132)."""

    op: Literal["sleep"]
    duration: Duration
    sm: Annotated[float, Field(gt=0, le=1)] = 1 / 132
    stream: str = "main"


class Copy(Table):
    """A copy between host (h) and device (d); from or to pageable host memory unless `pinned`."""

    op: Literal["copy"]
    direction: Literal["h2d", "d2h", "d2d"]
    bytes: Annotated[Bytes, Field(ge=1)]
    pinned: bool = True
    stream: str = "main"


class Record(Table):
    """Record an event in a stream."""

    op: Literal["record"]
    event: str
    timed: bool = False
    stream: str = "main"


class WaitEvent(Table):
    """Make a stream wait for an event; the host goes on."""

    op: Literal["wait_event"]
    event: str
    stream: str = "main"


class Sync(Table):
    """Make the host wait: `on` is an event's name, or "device" for all that was launched."""

    op: Literal["sync"]
    on: str
    how: Literal["spin", "blocking"] = "spin"


class Think(Table):
    """Host work that touches no device."""

    op: Literal["think"]
    duration: Duration


class Repeat(Table):
    """Ops done over and over."""

    op: Literal["repeat"]
    times: Size
    ops: "Ops"


def _graph_can_hold(ops: tuple["Op", ...]) -> tuple["Op", ...]:
    refusals = [
        Refusal(
            Bare(f"a pageable {op.direction} copy" if isinstance(op, Copy) else f"op {op.op!r}"),
            "only kernels, pinned copies, events and repeats inside a graph",
            at=place,
        )
        for place, op in walk(ops)
        if isinstance(op, Sync | Think | Graph) or (isinstance(op, Copy) and not op.pinned)
    ]
    if refusals:
        raise Refusals(refusals)
    return ops


class Graph(Table):
    """Ops to capture once and launch `replays` times as one. Its host half is the launch alone."""

    op: Literal["graph"]
    name: str = "graph"
    replays: Size = 1
    ops: Annotated["Ops", AfterValidator(_graph_can_hold)]


OP_NAMES = ("matmul", "add", "sleep", "copy", "record", "wait_event", "sync", "think", "repeat", "graph")


def _op_tag(value: object) -> str | None:
    op = value.get("op") if isinstance(value, dict) else getattr(value, "op", None)
    return f"<{op}>" if op in OP_NAMES else None


Op = Annotated[
    Annotated[Matmul, Tag("<matmul>")]
    | Annotated[Add, Tag("<add>")]
    | Annotated[Sleep, Tag("<sleep>")]
    | Annotated[Copy, Tag("<copy>")]
    | Annotated[Record, Tag("<record>")]
    | Annotated[WaitEvent, Tag("<wait_event>")]
    | Annotated[Sync, Tag("<sync>")]
    | Annotated[Think, Tag("<think>")]
    | Annotated[Repeat, Tag("<repeat>")]
    | Annotated[Graph, Tag("<graph>")],
    Discriminator(_op_tag),
    Field(description=f"a table whose op is {listed(OP_NAMES)}"),
]
Ops = NonEmpty[Op]

Repeat.model_rebuild()
Graph.model_rebuild()


def walk(ops: tuple[Op, ...]) -> Iterator[tuple[Place, Op]]:
    """Every op, those inside repeats and graphs too, with its place below `ops`."""
    for index, op in enumerate(ops):
        yield (index,), op
        if isinstance(op, Repeat | Graph):
            for place, inner in walk(op.ops):
                yield (index, "ops", *place), inner
