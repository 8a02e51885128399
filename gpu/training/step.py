"""A training step of feed-forward blocks on torch: forward, loss, backward, optimizer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

Span = Callable[[str], AbstractContextManager[Any]]
"""What a phase runs in, by its name."""


class Block(nn.Module):  # type: ignore[misc]
    """A residual feed-forward block: normalization, up to four times the width, GELU, and down again."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, 4 * hidden, bias=False)
        self.act = nn.GELU()
        self.down = nn.Linear(4 * hidden, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output, added to its input."""
        added: torch.Tensor = x + self.down(self.act(self.up(self.norm(x))))
        return added


class TrainingStep:
    """A model with its optimizer and a batch that stays where it is, all bf16.

    ``accumulate`` micro-batches of ``rows`` rows each add up their gradients before the optimizer steps. AdamW is the
    fused one, capturable on a GPU.
    """

    def __init__(
        self,
        hidden: int,
        layers: int,
        rows: int,
        *,
        accumulate: int = 1,
        optimizer: str = "adamw",
        device: str = "cuda",
    ) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(*(Block(hidden) for _ in range(layers))).to(device, torch.bfloat16)
        self.accumulate = accumulate
        self.batches = [torch.randn(rows, hidden, device=device, dtype=torch.bfloat16) for _ in range(accumulate)]
        self.loss = torch.zeros((), device=device)
        parameters = self.model.parameters()
        if optimizer == "adamw":
            self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
                parameters, lr=1e-4, fused=True, capturable=device == "cuda"
            )
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=1e-4)

    def gradients(self, span: Span = lambda _: nullcontext()) -> None:
        """Forward and backward of all micro-batches, from no gradients."""
        with span("zero"):
            self.optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(self.batches):
            with span(f"forward {number}"):
                y = self.model(batch)
            with span(f"loss {number}"):
                loss = y.float().square().mean()
            with span(f"backward {number}"):
                loss.backward()
            self.loss = loss.detach()

    def update(self, span: Span = lambda _: nullcontext()) -> None:
        """The optimizer's part."""
        with span("optimizer"):
            self.optimizer.step()

    def __call__(self, span: Span = lambda _: nullcontext()) -> None:
        """One step."""
        self.gradients(span)
        self.update(span)


def captured(step: TrainingStep, *, whole: bool) -> Callable[[], None]:
    """The step as one graph, or as a graph of its gradients and an eager optimizer.

    As torch's documentation advises, it warms up on a side stream, and gradients are none when the capture starts, so
    that they lie in the graph's own memory.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    step.optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step() if whole else step.gradients()

    def run() -> None:
        graph.replay()
        if not whole:
            step.update()

    return run  # which keeps the step alive: a graph knows its tensors by address only
