"""The profile that a machine is held against when nobody names one."""

from __future__ import annotations

from scenarios.loader import load_profile
from scenarios.shelf import PROFILES

DEFAULT = "nvidia-h200"
"""Where no shipped profile is of the GPU at hand, and where none is looked at: the one that scenarios default to."""


def profile_for(gpu: str | None) -> str:
    """The name of the shipped profile that was measured on a GPU of this name, else ``DEFAULT``."""
    of_it = (name for name in PROFILES.names() if load_profile(name).provenance.gpu == gpu)
    return next(of_it, DEFAULT)
