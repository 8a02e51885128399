"""Whether what a run needs fits into the memory that is free, asked before any of it is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from traceback import clear_frames

import torch

from scenarios.errors import Problem, ScenarioError

GIB = 2**30


def free_bytes(on: str) -> int:
    """Memory that can still be had: of the GPU, or of this machine; without a limit where that cannot be told."""
    if on == "cuda":
        held = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()  # cached, and given to whoever asks
        return int(torch.cuda.mem_get_info()[0] + held)
    listing = Path("/proc/meminfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 1 << 62)


def require(source: str, path: str, parts: Mapping[str, int], on: str) -> None:
    """Raise ``ScenarioError`` unless the parts (bytes, by name) fit together into what is free."""
    needed, free = sum(parts.values()), free_bytes(on)
    if needed > free:
        listed = ", ".join(f"{name} {nbytes / GIB:.2f}" for name, nbytes in parts.items())
        message = f"needs {needed / GIB:.2f} GiB ({listed}), free on {on} are {free / GIB:.2f} GiB"
        raise ScenarioError([Problem(source, path, message)])


@contextmanager
def memory_errors(source: str) -> Iterator[None]:
    """Turn torch's verdict, where a reckoning was too low, into a ``ScenarioError``, and give up what was tried."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        clear_frames(error.__traceback__)  # tensors live on in the frames of what failed
        torch.cuda.empty_cache()
        raise ScenarioError([Problem(source, "", str(error).partition("\n")[0])]) from None
