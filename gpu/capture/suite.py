"""All cases of the suite."""

from __future__ import annotations

from gpu.capture.case import Case
from gpu.capture.cases import forward, host, streams, training

CASES: tuple[Case, ...] = (*forward.CASES, *host.CASES, *streams.CASES, *training.CASES)
