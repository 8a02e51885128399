"""Steps of training: optimizers, clipping, learning rates, accumulation and checkpointing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Adam
from torch.utils.checkpoint import checkpoint

from gpu.capture.case import Case, rows

Function = Callable[..., Any]
RATE = "different computations each step"
OPTIMIZER = "not allowed: dynamic optimizer updates"


def small(device: str, *more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), *more, nn.Tanh(), nn.Linear(64, 1)).to(device)


def backward(device: str) -> Function:
    model = small(device)

    def step(x: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss.detach()

    return step


def sgd(device: str) -> Function:
    model = small(device)
    optimizer = SGD(model.parameters(), lr=0.1)

    def step(x: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def adam(device: str) -> Function:
    model = small(device)
    optimizer = Adam(model.parameters(), lr=0.1)

    def step(x: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()  # here
        return loss.detach()

    return step


def capturable_adam(device: str) -> Function:
    model = small(device)
    optimizer = Adam(model.parameters(), lr=0.1, capturable=True)

    def step(x: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def clipped(device: str) -> Function:
    model = small(device)

    def step(x: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        model(x).square().mean().backward()
        return clip_grad_norm_(model.parameters(), 0.1)

    return step


def clipped_or_error(device: str) -> Function:
    model = small(device)

    def step(x: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        model(x).square().mean().backward()
        return clip_grad_norm_(model.parameters(), 0.1, error_if_nonfinite=True)  # here

    return step


def rate_as_number(device: str) -> Function:
    model = small(device)
    optimizer = SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def step(x: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()  # here
        schedule.step()
        return loss.detach()

    return step


def stepped_with_rate(model: nn.Module, optimizer: torch.optim.Optimizer) -> Function:
    """A step whose learning rate is one of its inputs."""

    def step(x: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss: torch.Tensor = model(x).square().mean()
        loss.backward()
        optimizer.step()  # here
        return loss.detach()

    return step


def rate_as_tensor(device: str) -> Function:
    model = small(device)
    return stepped_with_rate(model, SGD(model.parameters(), lr=torch.tensor(0.1, device=device)))


def rate_as_tensor_fused(device: str) -> Function:
    model = small(device)
    return stepped_with_rate(model, SGD(model.parameters(), lr=torch.tensor(0.1, device=device), fused=True))


def rate_as_tensor_adam(device: str) -> Function:
    model = small(device)
    return stepped_with_rate(model, Adam(model.parameters(), lr=torch.tensor(0.1, device=device), capturable=True))


def with_rate(seed: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    return (*rows(seed, device), torch.tensor(0.1 / (1 + seed), device=device))


def accumulated(device: str) -> Function:
    model = small(device)
    optimizer = SGD(model.parameters(), lr=0.1)

    def step(x: torch.Tensor) -> None:
        optimizer.zero_grad()
        for part in x.chunk(4):
            model(part).square().mean().backward()
        optimizer.step()

    return step


def accumulated_by_count(device: str) -> Function:
    model = small(device)
    optimizer = SGD(model.parameters(), lr=0.1)
    state = {"calls": 0}

    def step(x: torch.Tensor) -> None:
        model(x).square().mean().backward()
        state["calls"] += 1
        if state["calls"] % 2 == 0:
            optimizer.step()  # here
            optimizer.zero_grad(set_to_none=False)

    return step


def checkpointed(device: str) -> Function:
    model = small(device, nn.Dropout(0.1))

    def step(x: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss = checkpoint(model, x, use_reentrant=False).square().mean()  # here
        loss.backward()
        return loss.detach()

    return step


def checkpointed_without_random(device: str) -> Function:
    model = small(device)

    def step(x: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss = checkpoint(model, x, use_reentrant=False, preserve_rng_state=False).square().mean()
        loss.backward()
        return loss.detach()

    return step


CASES = (
    Case("backward", "training", "whole net only", backward),
    Case("sgd", "optimizers", OPTIMIZER, sgd),
    Case("adam", "optimizers", OPTIMIZER, adam),
    Case("adam-capturable", "optimizers", OPTIMIZER, capturable_adam, needs_gpu=True),
    Case("clip", "gradient clipping", "changes behaviour", clipped),
    Case("clip-or-error", "gradient clipping", "changes behaviour", clipped_or_error),
    Case("rate-as-number", "learning rate", RATE, rate_as_number),
    Case("rate-as-tensor", "learning rate", RATE, rate_as_tensor, with_rate),
    Case("rate-as-tensor-fused", "learning rate", RATE, rate_as_tensor_fused, with_rate),
    Case("rate-as-tensor-adam", "learning rate", RATE, rate_as_tensor_adam, with_rate, needs_gpu=True),
    Case("accumulate", "gradient accumulation", "variable number of backwards", accumulated),
    Case("accumulate-by-count", "gradient accumulation", "variable number of backwards", accumulated_by_count),
    Case("checkpoint", "activation checkpointing", "allocates and frees", checkpointed),
    Case("checkpoint-no-rng", "activation checkpointing", "allocates and frees", checkpointed_without_random),
)
