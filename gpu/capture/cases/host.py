"""Reads, copies and values of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gpu.capture.case import Case, rows

Function = Callable[..., Any]


def item(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        largest = x.abs().max().item()  # here
        return x / largest

    return step


def to_cpu(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        return y.cpu()  # here

    return step


def synchronized(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        torch.cuda.synchronize()  # here
        return y + 1

    return step


def event_queried(_device: str) -> Function:
    event = torch.cuda.Event()

    def step(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        event.record()
        return y + 1 if event.query() else y  # here

    return step


def pageable(_device: str) -> Function:
    weights = torch.arange(64.0)

    def step(x: torch.Tensor) -> torch.Tensor:
        return x * weights.to(x.device)  # here

    return step


def pinned(_device: str) -> Function:
    weights = torch.arange(64.0).pin_memory()

    def step(x: torch.Tensor) -> torch.Tensor:
        return x * weights.to(x.device, non_blocking=True)

    return step


def pinned_each_time(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        weights = torch.arange(64.0).pin_memory()  # here
        return x * weights.to(x.device, non_blocking=True)

    return step


def list_to_device(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        return x + torch.tensor([1.0] * 64, device=x.device)  # here

    return step


def number_on_host(_device: str) -> Function:
    def step(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return x * scale  # here

    return step


def with_scale(seed: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    return (*rows(seed, device), torch.tensor(1.0 + seed))


def counted_on_host(_device: str) -> Function:
    seen = torch.zeros(1)

    def step(x: torch.Tensor) -> torch.Tensor:
        seen.add_(x.shape[0])  # here
        return x * 2

    return step


def counter(_device: str) -> Function:
    state = {"step": 0}

    def step(x: torch.Tensor) -> torch.Tensor:
        state["step"] += 1
        return x + state["step"]  # here

    return step


def counter_on_device(device: str) -> Function:
    count = torch.zeros((), device=device)

    def step(x: torch.Tensor) -> torch.Tensor:
        count.add_(1)
        return x + count

    return step


def returned(_device: str) -> Function:
    state = {"step": 0}

    def step(x: torch.Tensor) -> tuple[torch.Tensor, int]:
        state["step"] += 1
        return x * 2, state["step"]

    return step


def rebound(device: str) -> Function:
    state = {"hidden": torch.zeros(32, 64, device=device)}

    def step(x: torch.Tensor) -> torch.Tensor:
        state["hidden"] = torch.tanh(state["hidden"] + x)  # here
        return state["hidden"] * 2

    return step


def rewritten(device: str) -> Function:
    hidden = torch.zeros(32, 64, device=device)

    def step(x: torch.Tensor) -> torch.Tensor:
        hidden.copy_(torch.tanh(hidden + x))
        return hidden * 2

    return step


CASES = (
    Case("item", ".item()", "error", item),
    Case("cpu", ".cpu()", "error", to_cpu),
    Case("synchronize", "synchronize", "error", synchronized, needs_gpu=True),
    Case("event-query", "event query", "not mentioned", event_queried, needs_gpu=True),
    Case("pageable-copy", "pageable copy", "not mentioned", pageable, needs_gpu=True),
    Case("pinned-copy", "pageable copy", "not mentioned", pinned, needs_gpu=True),
    Case("pinned-each-time", "pageable copy", "not mentioned", pinned_each_time, needs_gpu=True),
    Case("list-to-device", "pageable copy", "not mentioned", list_to_device, needs_gpu=True),
    Case("number-on-host", "CPU tensors", "not allowed", number_on_host, with_scale, needs_gpu=True),
    Case("counted-on-host", "CPU tensors", "not allowed", counted_on_host, needs_gpu=True),
    Case("host-counter", "CPU values", "not mentioned", counter),
    Case("device-counter", "CPU values", "not mentioned", counter_on_device),
    Case("python-result", "CPU values", "not mentioned", returned),
    Case("rebound", "input addresses", "not mentioned", rebound),
    Case("rewritten", "input addresses", "not mentioned", rewritten),
)
