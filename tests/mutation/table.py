"""The tables of what was caught, from the lines that were kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from equivalent import REASONS

TABLES = Path(__file__).with_name("README.md")


def alive(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mutants that nothing killed, each with the reason why it is no fault, None for one that is not known."""
    living = [result for result in results if result["invariant"] is None]
    return [result | {"reason": REASONS.get((result["module"], result["code"], result["what"]))} for result in living]


def write(kept: Path) -> int:
    """Write ``README.md``; 1 when a fault or a mutant lives for no known reason."""
    faults, mutants = (_read(kept / f"{name}.jsonl") for name in ("faults", "mutants"))
    living = alive(mutants)
    parts = [_faults(faults), _mutants(mutants, living)]
    TABLES.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return int(any(result["reason"] is None for result in living) or any(f["invariant"] is None for f in faults))


def _read(path: Path) -> list[dict[str, Any]]:
    """The last line of each fault or mutant, in the order of the code."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    last = {line["number"]: line | {"made": datetime.fromtimestamp(path.stat().st_mtime)} for line in lines}  # noqa: DTZ006
    return [last[number] for number in sorted(last)]


def _faults(faults: list[dict[str, Any]]) -> str:
    caught, day = sum(fault["invariant"] is not None for fault in faults), f"{faults[0]['made']:%Y-%m-%d}"
    lines = [
        "Faults made by hand (`faults.py`), each in a project of its own, and what caught it:",
        f"{caught} of {len(faults)} ({day}).",
        "The example is that of the attack, of `server` the end of a round of 20. `make check-deep` makes it anew.",
        "",
        "| fault | module | caught by | attack | example |",
        "|---|---|---|---|---|",
    ]
    for fault in faults:
        found = f"{fault['invariant'] or '**nothing**'} | {fault['attack']} | {fault['examples']}"
        lines.append(f"| {fault['what']} | `{fault['module']}` | {found} |")
    return "\n".join(lines)


def _mutants(mutants: list[dict[str, Any]], living: list[dict[str, Any]]) -> str:
    tests = [m for m in mutants if m["invariant"] == "test"]
    killed = len(mutants) - len(living)
    known = sum(result["reason"] is not None for result in living)
    share, day = f"{killed / len(mutants):.1%}", f"{mutants[0]['made']:%Y-%m-%d}"
    lines = [
        f"Mutants of the syntax tree (`generate.py`), a sample of {len(mutants)} ({day}):",
        f"{killed} are killed, {share},",
        f"{killed - len(tests)} by an invariant and {len(tests)} by a test beside their module.",
        f"Of the {len(living)} that live {known} are equivalent (`equivalent.py`).",
        "",
        "| module | of | killed by an invariant | by a test | alive |",
        "|---|---|---|---|---|",
    ]
    of = [{m["number"] for m in some} for some in (tests, living)]
    for module in dict.fromkeys(m["module"] for m in mutants):
        mine = [m for m in mutants if m["module"] == module]
        counts = [sum(m["number"] in some for m in mine) for some in of]
        lines.append(f"| `{module}` | {len(mine)} | {len(mine) - sum(counts)} | {counts[0]} | {counts[1]} |")
    lines += ["", "| alive | line | change | equivalent, since |", "|---|---|---|---|"]
    for one in living:
        where = f"`{one['module']}:{one['line']}` | `{_cell(one['code'])}` | {_cell(one['what'])}"
        lines.append(f"| {where} | {one['reason'] or '**open**'} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
