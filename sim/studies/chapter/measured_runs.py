"""Runs that the suites measure, as overrides that several claims ask for."""

from __future__ import annotations

ALL_MODES = "engine.modes=naive,serial-eager,serial-graph,overlap-eager,overlap-graph"
BATCHES = (1, 4, 16, 64, 256)
HIERARCHY = ("workload.output_tokens=24", "engine.modes=naive,serial-eager,serial-graph,overlap-graph")
"""Of ``decode-qwen3-0.6b`` and ``decode-llama-3.1-8b``, in the suite ``chapter``."""
CHAPTERS_LOOP = ("workload.output_tokens=32", "engine.buckets=[16]", "engine.overlap.loop=graphs-or-overlap")
"""Of ``decode-qwen3-0.6b``, in the suite ``loops``: the chapter's loop with everything else as in ``lean``."""


def served(batch: int) -> tuple[str, ...]:
    """Of ``scheduling-overhead``, in the suite ``chapter``."""
    return f"workload.batch={batch}", ALL_MODES
