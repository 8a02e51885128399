"""The default stream and side streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gpu.capture.case import Case

Function = Callable[..., Any]


def default_stream(_device: str) -> Function:
    default = torch.cuda.default_stream()

    def step(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        default.wait_stream(torch.cuda.current_stream())  # here
        with torch.cuda.stream(default):
            y.add_(1)
        torch.cuda.current_stream().wait_stream(default)
        return y

    return step


def default_stream_unforked(_device: str) -> Function:
    total = torch.zeros((), device="cuda")

    def step(x: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(torch.cuda.default_stream()):
            total.add_(1)  # here
        return x + 1

    return step


def joined(_device: str) -> Function:
    side = torch.cuda.Stream()

    def step(x: torch.Tensor) -> torch.Tensor:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            y = x * 2
        z = x + 1
        torch.cuda.current_stream().wait_stream(side)
        return y + z

    return step


def unjoined(_device: str) -> Function:
    side = torch.cuda.Stream()
    total = torch.zeros((), device="cuda")

    def step(x: torch.Tensor) -> torch.Tensor:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            total.add_(x.sum())  # here
        return x + 1

    return step


def unforked(_device: str) -> Function:
    side = torch.cuda.Stream()
    total = torch.zeros((), device="cuda")

    def step(x: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(side):
            total.add_(1)  # here
        return x + 1

    return step


CASES = (
    Case("default-stream", "default stream", "forbidden", default_stream, needs_gpu=True),
    Case("default-stream-unforked", "default stream", "forbidden", default_stream_unforked, needs_gpu=True),
    Case("side-stream-joined", "side streams", "unclear", joined, needs_gpu=True),
    Case("side-stream-unjoined", "side streams", "unclear", unjoined, needs_gpu=True),
    Case("side-stream-unforked", "side streams", "unclear", unforked, needs_gpu=True),
)
