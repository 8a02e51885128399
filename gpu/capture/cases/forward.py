"""Shapes, random numbers, memory and branches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.functional import dropout

from gpu.capture.case import Case, rows

Function = Callable[..., Any]


def masked(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        return x[x > 0] * 2  # here

    return step


def growing(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        return x.sum(1)

    return step


def more_rows(seed: int, device: str) -> tuple[torch.Tensor]:
    return (torch.ones(32 + seed, 64, device=device),)


def padded(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, 0) * 2

    return step


def dropped(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        return dropout(x, 0.1)

    return step


def own_generator(device: str) -> Function:
    generator = torch.Generator(device).manual_seed(1)

    def step(x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(x.shape, device=x.device, generator=generator)  # here

    return step


def state_read(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        state = torch.cuda.get_rng_state()  # here
        y = dropout(x, 0.1)
        torch.cuda.set_rng_state(state)
        return y

    return step


def allocating(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        y = torch.empty_like(x)
        y.copy_(x)
        return y + torch.ones(32, 64, device=x.device)

    return step


def cache_emptied(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        y = (x @ x.T).relu()
        torch.cuda.empty_cache()  # here
        return y + 1

    return step


def branch_on_device(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:  # here
            return x + 1
        return x - 1

    return step


def branch_on_host(_device: str) -> Function:
    def step(x: torch.Tensor, training: bool) -> torch.Tensor:
        if training:
            return x * 2
        return x + 100  # here

    return step


def with_flag(seed: int, device: str) -> tuple[torch.Tensor, bool]:
    return (*rows(seed, device), seed % 2 == 0)


def chosen(_device: str) -> Function:
    def step(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.sum() > 0, x + 1, x - 1)

    return step


def conditional(_device: str) -> Function:
    def step(x: torch.Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))  # here

    return step


def conditional_node(_device: str) -> Function:
    from torch._higher_order_ops.cudagraph_conditional_nodes import CUDAGraphCaptureControlFlowOpDispatchMode as Nodes

    def step(x: torch.Tensor) -> Any:
        with Nodes() if torch.cuda.is_current_stream_capturing() else nullcontext():
            return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))  # here

    return step


CASES = (
    Case("mask", "dynamic shapes", "not allowed", masked),
    Case("new-shape", "dynamic shapes", "not allowed", growing, more_rows),
    Case("where-for-mask", "dynamic shapes", "not allowed", padded),
    Case("dropout", "dropout and random numbers", "not allowed: random dropout", dropped),
    Case("own-generator", "dropout and random numbers", "not allowed: random dropout", own_generator),
    Case("rng-state", "dropout and random numbers", "not allowed: random dropout", state_read, needs_gpu=True),
    Case("empty-tensor", "memory allocation", "not allowed: dynamic allocation", allocating),
    Case("empty-cache", "memory allocation", "not allowed: dynamic allocation", cache_emptied, needs_gpu=True),
    Case("branch-on-device", "data-dependent branching", "not allowed", branch_on_device),
    Case("branch-on-host", "data-dependent branching", "not allowed", branch_on_host, with_flag),
    Case("where-for-branch", "data-dependent branching", "not allowed", chosen),
    Case("cond", "torch.cond", "not mentioned", conditional),
    Case("cond-as-node", "torch.cond", "not mentioned", conditional_node, needs_gpu=True),
)
