"""``overlapsim check``: attack a scheduling policy, and show the smallest world that breaks it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.verbs import DONE, NO
from sim.verbs.parsing import Verbs, add_verb, file_problems, reader_may_leave

if TYPE_CHECKING:
    from sim.check.report import Finding

EXAMPLES = """\
examples:
  overlapsim check prefill-first
  overlapsim check mypackage.policy:MyPolicy --examples 2000
  overlapsim check mypackage.policy:MyPolicy --property no-starvation --patience 8
  overlapsim check mypackage.policy:MyPolicy --scenario broken.toml
  overlapsim check --template mine.py
  overlapsim check --list

A policy is a class, made anew for each world, or a function of (queues, budget) that returns a plan.
What breaks is shrunk and written as a scenario (--out, with a trace of its requests and a picture beside it), which
'overlapsim run' runs and '--scenario' checks again. Exit code 1 when something broke.
"""
STORAGE = "HYPOTHESIS_STORAGE_DIRECTORY"


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(
        verbs, "check", "attack a scheduling policy of your own, and shrink what breaks it", check, EXAMPLES
    )
    verb.add_argument(
        "policy", nargs="?", metavar="POLICY", help="package.module:Name, looked up from here on, or a built-in's name"
    )
    verb.add_argument("--list", action="store_true", help="print the invariants: what each forbids, and why")
    verb.add_argument("--template", type=Path, metavar="FILE", help="write a policy to start from, and stop")
    verb.add_argument("--examples", type=int, default=500, metavar="N", help="worlds to try (default 500)")
    verb.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="NAME",
        help="an invariant that counts (default: all of them)",
    )
    verb.add_argument(
        "--patience", default="3", metavar="N", help="requests that may overtake one that fits (default 3, or 'any')"
    )
    verb.add_argument(
        "--machine", choices=("reference", "fast"), default="reference", help="which virtual machine serves the worlds"
    )
    verb.add_argument("--scenario", metavar="FILE", help="serve this scenario in place of random worlds")
    verb.add_argument("--seed", type=int, default=0, help="which worlds are tried (default 0)")
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of the text")
    verb.add_argument(
        "--out", type=Path, default=Path("broken.toml"), metavar="FILE", help="what breaks (default broken.toml)"
    )


def check(arguments: argparse.Namespace) -> int:
    """Attack, and print what was found; NO when an invariant broke."""
    if arguments.list:
        return _list(as_json=arguments.json)
    if arguments.template is not None:
        return _template(arguments.template)
    _refuse(arguments)
    from rich.console import Console

    from sim.check.report import attack

    patience = None if arguments.patience == "any" else int(arguments.patience)
    with _storing_elsewhere(), Console(stderr=True).status(f"{arguments.policy}: attacking") as status:
        finding = attack(
            arguments.policy,
            scenario=arguments.scenario,
            machine=arguments.machine,
            examples=arguments.examples,
            properties=frozenset(arguments.property),
            patience=patience,
            seed=arguments.seed,
            out=arguments.out,
            progress=lambda tried: status.update(f"{arguments.policy}: world {tried}"),
        )
    with reader_may_leave():
        _print(arguments, finding)
    return DONE if finding.held else NO


@contextmanager
def _storing_elsewhere() -> Iterator[None]:
    """Keep what hypothesis remembers out of the folder that one happens to stand in."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="overlapsim-") as folder:
        mine = os.environ.setdefault(STORAGE, folder) == folder
        try:
            yield
        finally:
            if mine:
                del os.environ[STORAGE]


def _print(arguments: argparse.Namespace, finding: Finding) -> None:
    if arguments.json:
        import json

        print(json.dumps(finding.as_json(), indent=2), flush=True)
    else:
        print("\n".join(finding.lines()), flush=True)


def _template(path: Path) -> int:
    from importlib.resources import files

    from scenarios.errors import Problem, ScenarioError
    from sim.timeline.chrome import replacing

    if path.exists():
        raise ScenarioError([Problem("--template", "", f"found {str(path)!r}: there is such a file")])
    if problems := file_problems("--template", path, ".py"):
        raise ScenarioError(problems)
    with replacing(path) as temporary:
        temporary.write_text(files("sim.check").joinpath("template.py").read_text(encoding="utf-8"), encoding="utf-8")
    print(f"wrote {path}: overlapsim check {path.stem}:MyPolicy")
    return DONE


def _list(*, as_json: bool) -> int:
    from sim.check.statements import statements

    found = statements()
    with reader_may_leave():
        if as_json:
            import json

            told = [{"name": name, "forbids": one.forbids, "why": one.why} for name, one in found.items()]
            print(json.dumps({"invariants": told}, indent=2), flush=True)
        else:
            for name, one in found.items():
                print(f"{name}: {one.forbids}\n    since {one.why}", flush=True)
    return DONE


def _refuse(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be done before anything is tried."""
    from scenarios.errors import Problem, ScenarioError, nearest
    from sim.check.statements import statements

    problems: list[Any] = []
    if arguments.policy is None:
        problems.append(Problem("check", "", "no policy, expected package.module:Name or a built-in's name"))
    if arguments.examples < 1:
        problems.append(Problem("--examples", "", f"found {arguments.examples}, expected at least 1"))
    if arguments.patience != "any" and not arguments.patience.isdigit():
        problems.append(Problem("--patience", "", f"found {arguments.patience!r}, expected a number, or 'any'"))
    known = list(statements())
    problems += [
        Problem("--property", "", f"found {name!r}, expected an invariant's name ({nearest(name, known)})")
        for name in arguments.property
        if name not in known
    ]
    problems += file_problems("--out", arguments.out, ".toml")
    if problems:
        raise ScenarioError(problems)
