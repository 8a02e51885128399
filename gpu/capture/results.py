"""Results of the suite, in a file that is whole at any time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu.backend import On
from gpu.capture.suite import CASES, Row, see_mistakes, try_cases
from gpu.validation.provenance import machine_of


def run_suite(on: On, path: Path | None, jobs: int, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Try every case that can run here and meet every mistake; ``path`` holds what is known after each of them."""
    results: dict[str, Any] = {"provenance": machine_of(on), "cases": [], "mistakes": []}
    cases = [case for case in CASES if on == "cuda" or not case.needs_gpu]

    def keep(kind: str, row: Row) -> None:
        results[kind].append(row)
        progress(f"{len(results['cases'])} of {len(cases)} cases and {len(results['mistakes'])} mistakes")
        if path is not None:
            fresh = path.with_name(path.name + ".new")
            fresh.write_text(json.dumps(results, indent=1) + "\n")
            fresh.replace(path)

    for row in try_cases(on, cases, jobs):
        keep("cases", row)
    for row in see_mistakes(on, jobs):
        keep("mistakes", row)
    return results
