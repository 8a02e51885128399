"""Serving scenarios of the tiny model, small enough to run by the hundred."""

from __future__ import annotations

from scenarios.loader import LoadedScenario, load_scenario

SHIPPED = "decode-qwen3-0.6b"


def tiny(*overrides: str, batch: int = 3, tokens: int = 10) -> LoadedScenario:
    """A closed batch of the tiny model; later overrides win."""
    small = ("model=tiny", f"workload.batch={batch}", f"workload.output_tokens={tokens}", "workload.context=20")
    return load_scenario(SHIPPED, (*small, *overrides))


def tiny_open(*overrides: str) -> LoadedScenario:
    """Eight requests of the tiny model that arrive as a Poisson process."""
    small = ("model=tiny", "workload.rate=20000/s", "workload.requests=8", "workload.context=20")
    return load_scenario(SHIPPED, (*small, "workload.output_tokens=6", *overrides))


def tiny_clients(clients: int, requests: int, *overrides: str) -> LoadedScenario:
    """A closed loop of the tiny model."""
    small = ("model=tiny", f"workload.clients={clients}", f"workload.requests={requests}", "workload.context=20")
    return load_scenario(SHIPPED, (*small, "workload.output_tokens=6", *overrides))
