"""A scenario file of one point, on which two machines can be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scenarios.loader import LoadedScenario
from sim.timeline.chrome import replacing


def write_scenario(path: Path, loaded: LoadedScenario, remark: str) -> None:
    """Write what was loaded, overrides included, as one file that loads to the same; ``remark`` opens it."""
    tree = loaded.scenario.model_dump(mode="json", exclude_none=True)
    if loaded.model is not None:
        tree["model"] = loaded.model.model_dump(mode="json", exclude_none=True)
    with replacing(path) as temporary:
        lines = [f"# {remark}", *(f"{key} = {_inline(value)}" for key, value in tree.items())]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _inline(value: Any) -> str:
    """A value as TOML in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)
