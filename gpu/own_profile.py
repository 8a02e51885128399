"""The shipped profile of the GPU at hand."""

from __future__ import annotations

from scenarios.loader import load_profile
from scenarios.shelf import PROFILES


def own_profile(gpu: str | None) -> str | None:
    """The name of the shipped profile that was measured on a GPU of this name; None where there is none."""
    return next((name for name in PROFILES.names() if load_profile(name).provenance.gpu == gpu), None)
