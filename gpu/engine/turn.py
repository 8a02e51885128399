"""The buffers of every second step."""

from __future__ import annotations

from typing import Any

import torch

from gpu.engine.inputs import Table


class Turn:
    """Buffers and events that a step may not use before the step before last has been waited for.

    ``host`` is the pinned table of a step's inputs, flat, ``filled`` the same memory for NumPy, ``staged`` its place
    on the device under overlap; ``sampled`` are the step's tokens there, ``back`` is the pinned buffer they return to.
    """

    def __init__(self, numbers: int, rows: int, on: torch.device) -> None:
        cuda = on.type == "cuda"
        self.host = torch.zeros(numbers, dtype=torch.int32, pin_memory=cuda)
        self.filled: Table = self.host.numpy()
        self.staged = torch.zeros(numbers, dtype=torch.int32, device=on)
        self.sampled = torch.zeros(rows, dtype=torch.int64, device=on)
        self.back = torch.zeros(rows, dtype=torch.int64, pin_memory=cuda)
        self.inputs_ready, self.tokens_ready, self.done = (torch.cuda.Event() if cuda else Never() for _ in range(3))


class Never:
    """An event where nothing runs in the background: whoever asks finds everything done."""

    def record(self, stream: Any) -> None:
        """Nothing is pending."""

    def synchronize(self) -> None:
        """Nothing is pending."""

    def query(self) -> bool:
        """Everything is done."""
        return True
