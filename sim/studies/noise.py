"""How far repeats of one measurement scatter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def noise(repeats: Sequence[float]) -> float:
    """Half the range from the 10th to the 90th percentile, interpolated linearly between repeats, in their unit."""
    low, high = np.quantile(repeats, [0.1, 0.9])
    return float(high - low) / 2
