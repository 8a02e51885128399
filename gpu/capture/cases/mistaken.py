"""Functions that complain of bad inputs, and ones that would if they could."""

from __future__ import annotations

import torch


def look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return table[index] * 2  # here


def checked_log(x: torch.Tensor) -> torch.Tensor:
    y = x.log()
    if y.isnan().any():
        raise ValueError("a logarithm of a negative number")  # here
    return y * 2


def unchecked_log(x: torch.Tensor) -> torch.Tensor:
    return x.log() * 2


def device_checked_log(x: torch.Tensor) -> torch.Tensor:
    y = x.log()
    torch._assert_async(~y.isnan().any())  # here
    return y * 2


def talkative(x: torch.Tensor) -> torch.Tensor:
    print("rows:", x.shape[0])
    return x * 2


def limited(x: torch.Tensor, length: int) -> torch.Tensor:
    if length > 8:
        raise ValueError(f"length {length} exceeds 8")  # here
    return x * length


def table_and_index(device: str) -> tuple[torch.Tensor, ...]:
    return torch.ones(8, 4, device=device), torch.tensor([0, 7], device=device)


def table_and_far_index(device: str) -> tuple[torch.Tensor, ...]:
    return torch.ones(8, 4, device=device), torch.tensor([0, 8], device=device)


def positive(device: str) -> tuple[torch.Tensor, ...]:
    return (torch.full((4,), 2.0, device=device),)


def negative(device: str) -> tuple[torch.Tensor, ...]:
    return (torch.full((4,), -2.0, device=device),)


def short(device: str) -> tuple[torch.Tensor, int]:
    return torch.ones(4, device=device), 4


def long(device: str) -> tuple[torch.Tensor, int]:
    return torch.ones(4, device=device), 9
