"""The suite's results that are shipped; reading them needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scenarios.errors import Problem, ScenarioError

SHIPPED = Path(__file__).parent.parent / "results" / "nvidia-h100" / "capture.json"
"""What an H100 gave."""


def shipped_results() -> dict[str, Any]:
    """The shipped results; raises ``ScenarioError`` where they are not installed."""
    if not SHIPPED.is_file():
        raise ScenarioError([Problem("--suite", "", f"no results at {SHIPPED}: try --on cpu or --on cuda")])
    found: dict[str, Any] = json.loads(SHIPPED.read_text())
    return found
