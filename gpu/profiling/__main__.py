"""The process that profiles: ``python -m gpu.profiling SCENARIO [--set ...] --on cuda --into DIR --mode MODE ...``.

Started by ``gpu.profiling.profiled``; exit status 2 and one line a problem on bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gpu.profiling.handover import save
from gpu.profiling.recording import record
from gpu.session import open_session
from scenarios.errors import ScenarioError
from sim.verbs import BAD_INPUT, DONE
from sim.verbs.parsing import Parser, add_scenario, load


def main(words: Sequence[str] | None = None) -> int:
    """Record the modes that are named, one after the other, in one session."""
    parser = Parser(prog="python -m gpu.profiling", description=main.__doc__)
    add_scenario(parser)
    parser.add_argument("--on", choices=("cpu", "cuda"), default="cuda", help="where to run")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder for each mode's timeline")
    parser.add_argument("--mode", action="append", required=True, help="a mode to record; may be given several times")
    arguments = parser.parse_args(words)
    try:
        session = open_session(load(arguments), arguments.on, arguments.seed)
        try:
            for mode in arguments.mode:
                found, clock = record(session, mode)
                save(arguments.into, mode, found, clock.error)
        finally:
            session.close()
    except ScenarioError as error:
        print(error, file=sys.stderr)  # noqa: T201  what the parent reads
        return BAD_INPUT
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
