"""Launching a compiled Triton kernel without the Python that looks up which one to launch."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from gpu.model.ops import Call


def bind(kernel: Any, grid: tuple[int, ...], stream: int, *arguments: Any, **constants: Any) -> Call:
    """A call that launches ``kernel`` on a stream with these arguments, compiled for them now.

    ``arguments`` are all but the compile-time constants, in order; tensors are bound by their address and live as long
    as the call. ``constants`` are the kernel's compile-time arguments and its options, such as ``num_warps``. A launch
    through this takes a fifth of the time of ``kernel[grid](...)``, which checks every argument every time.
    """
    compiled = kernel.warmup(*arguments, grid=grid, **constants)
    x, y, z = (*grid, 1, 1)[:3]
    addresses = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
    own = [constants[name] for name in kernel.arg_names[len(arguments) :]]
    run = compiled.run  # loads the kernel, which sets ``function``
    call = partial(
        run, x, y, z, stream, compiled.function, compiled.packed_metadata, None, None, None, *addresses, *own
    )
    vars(call)["arguments"] = arguments  # an address keeps nothing alive
    return call
