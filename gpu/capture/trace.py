"""What a function does, call by call, as torch dispatches it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gpu.capture.place import Place, here

HOST_READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__")
"""Methods of a tensor that hand its values to the host. Where a tensor lies on the host they dispatch nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation: what it was given, where, and where the user asked for it.

    ``shapes`` are those of its tensors, in and out; ``numbers`` what it was given beside tensors; ``outside`` the
    addresses of the tensors that no operation of the same run has made, 0 for the others.
    """

    op: str
    place: Place | None
    shapes: tuple[str, ...]
    numbers: tuple[str, ...]
    outside: tuple[int, ...]
    devices: frozenset[str]
    stream: int
    hazard: str | None = None


@dataclass
class Trace:
    """All calls of one run, which began on ``stream``.

    ``outside`` holds a tensor of each storage that it found there, by address, ``written`` the lines that last wrote to
    those; ``generators`` are the random generators that it named; ``hazards`` are rules that it breaks, where, and with
    what.
    """

    stream: int = 0
    calls: list[Call] = field(default_factory=list)
    outside: dict[int, torch.Tensor] = field(default_factory=dict)
    written: dict[int, Place | None] = field(default_factory=dict)
    generators: list[torch.Generator] = field(default_factory=list)
    hazards: list[tuple[str, Place | None, str]] = field(default_factory=list)

    def hazards_at(self, place: Place | None) -> Iterator[str]:
        """Rules that are broken in a line."""
        return (rule for rule, where, _ in self.hazards if where == place and place is not None)


class Watch(TorchDispatchMode):  # type: ignore[misc]
    """Writes down every operation that is dispatched while it is entered.

    Storages stay alive while they are watched, so that an address names one of them.
    """

    supports_higher_order_operators = True

    def __init__(self, device: str) -> None:
        super().__init__()
        self.trace = Trace()
        self.device = device
        self._made: dict[int, Any] = {}
        self._reads = _HostReads(self)

    def __enter__(self) -> Self:
        self.trace.stream = _current_stream(self.device)
        self._hook = register_optimizer_step_pre_hook(self._stepping)
        self._reads.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._reads.__exit__(*error)
        self._hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and write it down."""
        del types
        kwargs = kwargs or {}
        if getattr(func, "namespace", "") == "profiler":
            return func(*args, **kwargs)
        place = here()
        leaves = tree_leaves((args, kwargs))
        given = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        for leaf in leaves:
            if isinstance(leaf, torch.Generator) and leaf not in self.trace.generators:
                self.trace.generators.append(leaf)
        for tensor in given:
            if (address := address_of(tensor)) and address not in self._made:
                self.trace.outside.setdefault(address, tensor)
        outside = tuple(0 if address_of(t) in self._made else address_of(t) for t in given)
        numbers = tuple(_numbers(leaves, self.device))
        hazard = hazard_of(func, given, self.device)
        if hazard is not None:
            self.trace.hazards.append((hazard, place, str(func)))
        returned = func(*args, **kwargs)
        out = [leaf for leaf in tree_leaves(returned) if isinstance(leaf, torch.Tensor)]
        for tensor in out:
            if (address := address_of(tensor)) and address not in self.trace.outside:
                self._made[address] = tensor.untyped_storage()
        for tensor in written_by(func, args, kwargs):
            if (address := address_of(tensor)) in self.trace.outside:
                self.trace.written[address] = place
        tensors = [*given, *out]
        self.trace.calls.append(
            Call(
                str(func),
                place,
                tuple(f"{t.dtype}{list(t.shape)}" for t in tensors),
                numbers,
                outside,
                frozenset(t.device.type for t in tensors),
                _current_stream(self.device),
                hazard,
            )
        )
        self.ran(func, args, kwargs, returned)
        return returned

    def ran(self, func: Any, args: Any, kwargs: Any, returned: Any) -> None:
        """An operation has run; for those who want to run it again."""

    def read_by_host(self, method: str) -> None:
        """A tensor's values are handed to the host."""
        self.trace.hazards.append(("host-read", here(), f"Tensor.{method}"))

    def _stepping(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if any(not group.get("capturable", True) for group in optimizer.param_groups):
            self.trace.hazards.append(("optimizer", here(), f"{type(optimizer).__name__}.step"))


class _HostReads(TorchFunctionMode):  # type: ignore[misc]
    """Watches methods by which the host reads tensors that it could read anyway, as on a machine without a GPU."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function; tell of it when it reads."""
        del types
        name = getattr(func, "__name__", "")
        reads = name in HOST_READS and func is getattr(torch.Tensor, name)
        if reads and args[0].device.type == self._watch.device:
            self._watch.read_by_host(name)
        return func(*args, **(kwargs or {}))


def hazard_of(func: Any, given: Sequence[torch.Tensor], device: str) -> str | None:
    """The rule that an operation breaks on tensors of the device, if it breaks one."""
    tags = getattr(func, "tags", ())
    if func is torch.ops.higher_order.cond:
        return "conditional"
    if not any(tensor.device.type == device for tensor in given):
        return None
    if torch.Tag.data_dependent_output in tags:
        return "host-read"
    if torch.Tag.dynamic_output_shape in tags:
        name = str(func)
        masks = (torch.bool, torch.uint8)
        if name == "aten.index.Tensor" and not any(tensor.dtype in masks for tensor in given[1:]):
            return None
        return "dynamic-shape"
    return None


def written_by(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that an operation writes in place, by its schema."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        return
    for number, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor))


def address_of(tensor: torch.Tensor) -> int:
    """Where a tensor's storage begins; 0 if it has none."""
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (NotImplementedError, RuntimeError):  # sparse and other tensors without a storage
        return 0


def _numbers(leaves: Sequence[Any], device: str) -> Iterator[str]:
    """What an operation was given beside tensors; a lone number that lies on the host counts as one."""
    for leaf in leaves:
        if isinstance(leaf, bool | int | float | complex | str):
            yield repr(leaf)
        elif isinstance(leaf, torch.Tensor) and device != "cpu" and leaf.device.type == "cpu" and leaf.dim() == 0:
            yield repr(leaf.item())


def _current_stream(device: str) -> int:
    return int(torch.cuda.current_stream().cuda_stream) if device == "cuda" else 0
