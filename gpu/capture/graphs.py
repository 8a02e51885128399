"""Graphs of a function: CUDA's, and a recording of its operations where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.utils._pytree import tree_leaves

from gpu.capture.place import Place, here, of_error
from gpu.capture.trace import Watch, address_of


class CaptureError(Exception):
    """A capture that failed: what was raised first, in which of the user's lines, and what ending the capture raised.

    ``first`` and ``place`` are None where the function ran to its end and only ending the capture failed.
    """

    def __init__(self, first: BaseException | None, last: BaseException) -> None:
        super().__init__(str(first or last))
        self.first = first
        self.last = last
        self.place = of_error(first) if first is not None else None


class Graph(Protocol):
    """A function's work, held."""

    outside: list[tuple[str, Place | None]]

    def capture(self, call: Callable[[], Any]) -> Any:
        """Hold what the function does and return what it returned; raises ``CaptureError``."""

    def launch(self) -> None:
        """Do it again, on the same addresses."""

    def replay(self) -> None:
        """The same, and wait until it is done."""


class CudaGraph:
    """A ``torch.cuda.CUDAGraph``; ``outside`` lists operations that ran during the capture and are not part of it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._graph = torch.cuda.CUDAGraph()
        self.outside: list[tuple[str, Place | None]] = []

    def capture(self, call: Callable[[], Any]) -> Any:
        """Capture on the stream, in the strict mode that is torch's default."""
        first: BaseException | None = None
        returned = None
        try:
            with torch.cuda.graph(self._graph, stream=self._stream):
                try:
                    with _Uncaptured(self.outside):
                        returned = call()
                except Exception as error:
                    first = error
                    raise
        except Exception as error:
            raise CaptureError(first, error) from error
        return returned

    def launch(self) -> None:
        """One launch of the graph."""
        self._graph.replay()

    def replay(self) -> None:
        """One launch, and its end."""
        self._graph.replay()
        torch.cuda.synchronize()


class _Uncaptured(Watch):
    """Finds work on streams that are not being captured."""

    def __init__(self, found: list[tuple[str, Place | None]]) -> None:
        super().__init__("cuda")
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation; write it down if its stream is not part of the capture."""
        del types
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.is_cuda for tensor in tensors) and not _captures():
            self._found.append((str(func), here()))
        return func(*args, **(kwargs or {}))


def _captures() -> bool:
    # Asking the legacy stream while another is captured is an error of its own.
    return bool(torch.cuda.current_stream().cuda_stream != 0 and torch.cuda.is_current_stream_capturing())


class Recording:
    """The operations of one run, to be run again with the same numbers on the same tensors: what a graph would do.

    Stands for a graph where there is none: like one it runs no Python, and knows tensors by address and numbers by
    value. What CUDA would refuse it does not know.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Any, Any, Any, Any]] = []
        self.outside: list[tuple[str, Place | None]] = []

    def capture(self, call: Callable[[], Any]) -> Any:
        """Run the function and keep its operations."""
        try:
            with _Recorder(self._entries):
                return call()
        except Exception as error:
            raise CaptureError(error, error) from error

    def replay(self) -> None:
        """As ``launch``: what has been launched is done."""
        self.launch()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def launch(self) -> None:
        """Run the operations, each into the tensors that it returned before."""
        for func, args, kwargs, returned in self._entries:
            fresh = tree_leaves(func(*args, **kwargs))
            for old, new in zip(tree_leaves(returned), fresh, strict=True):
                if isinstance(old, torch.Tensor) and address_of(old) != address_of(new):
                    old.copy_(new)


class _Recorder(Watch):
    def __init__(self, entries: list[tuple[Any, Any, Any, Any]]) -> None:
        super().__init__("cpu")
        self._entries = entries

    def ran(self, func: Any, args: Any, kwargs: Any, returned: Any) -> None:
        """Keep the operation."""
        self._entries.append((func, args, kwargs, returned))
