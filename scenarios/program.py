"""A program scenario: host threads that launch kernels, copies and graphs, without a server around them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator

from scenarios.errors import Refusal, Refusals, listed
from scenarios.ops import Ops, Record, Sync, WaitEvent, walk
from scenarios.scenario import Hardware, Host, Kernels, no_duplicates
from scenarios.table import Count, NonEmpty, Table

ProgramMode = Literal["eager", "graph"]

_PARAMETERS = ("n", "count")
_SIZES = ("m", "n", "k", "elements", "times", "replays")


class Thread(Table):
    """A host thread. Threads start together and share the interpreter's lock."""

    name: str = "main"
    ops: Ops


class ProgramEngine(Table):
    """The framework that the ops are called through: its preset gives the cost of an op."""

    preset: str = "pytorch"


class WithoutServer(Table):
    """What scenarios without a server have in common: they run from their first call to the end of all their work."""

    title: str
    modes: tuple[str, ...]
    engine: ProgramEngine = ProgramEngine()
    host: Host = Host()
    kernels: Kernels = Kernels()
    hardware: Hardware = Hardware()


class Program(WithoutServer):
    """A scenario of bare launches.

    In a file, sizes of ops may be the names "n" or "count"; here they are already integers.
    """

    kind: Literal["program"]
    modes: Annotated[NonEmpty[ProgramMode], AfterValidator(no_duplicates)] = ("eager", "graph")
    n: Count | None = None
    count: Count | None = None
    threads: NonEmpty[Thread]

    @model_validator(mode="before")
    @classmethod
    def _put_parameters_in(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        # A parameter that is itself wrong counts as 1, so that it is reported where it is set and only there.
        values = {name: tree[name] if _is_count(tree[name]) else 1 for name in _PARAMETERS if name in tree}
        return {**tree, "threads": _with_values(tree["threads"], values)} if "threads" in tree else tree

    @model_validator(mode="after")
    def _names_are_known(self) -> "Program":
        names = [thread.name for thread in self.threads]
        refusals = [
            Refusal(name, "a name no other thread has", at=("threads", index, "name"))
            for index, name in enumerate(names)
            if name in names[:index]
        ]
        ops = [
            (("threads", index, "ops", *place), op)
            for index, thread in enumerate(self.threads)
            for place, op in walk(thread.ops)
        ]
        events = sorted({op.event for _, op in ops if isinstance(op, Record)} - {"device"})
        known = f"an event that an op records ({listed(events)})" if events else "an event that an op records"
        for place, op in ops:
            if isinstance(op, Record) and op.event == "device":
                refusals.append(Refusal(op.event, "another name: 'device' is the whole device", (*place, "event")))
            if isinstance(op, WaitEvent) and op.event not in events:
                refusals.append(Refusal(op.event, known, (*place, "event")))
            if isinstance(op, Sync) and op.on not in ("device", *events):
                refusals.append(Refusal(op.on, f"'device', or {known}", (*place, "on")))
        if refusals:
            raise Refusals(refusals)
        return self


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _with_values(tree: Any, values: dict[str, int]) -> Any:
    if isinstance(tree, list):
        return [_with_values(item, values) for item in tree]
    if isinstance(tree, dict):
        return {
            key: values[value]
            if key in _SIZES and isinstance(value, str) and value in values
            else _with_values(value, values)
            for key, value in tree.items()
        }
    return tree
