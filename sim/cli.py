"""The command line: parse, call, print. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

DONE, NO, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

RUN_EXAMPLES = """\
examples:
  overlapsim run decode-llama-3.1-8b
  overlapsim run decode-qwen3-0.6b --set workload.batch=64 --set host.scale=0.5
  overlapsim run decode-llama-3.1-8b --model my-model/config.json --out runs/mine
  overlapsim run hundred-matmuls --set n=1024 --json
  overlapsim run my-scenario.toml --expect "overlap-graph.speedup>1.3"
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and leave with exit code 2."""
        print(f"{self.prog}: {message} (see '{self.prog} --help')", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = Parser(
        prog="overlapsim",
        description="Predict what CUDA graphs and overlap scheduling gain an LLM inference server.",
        epilog="exit codes: 0 done, 1 the answer is no (a failed --expect), 2 bad input, 130 interrupted",
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    listing = verbs.add_parser("list", help="list the shipped scenarios, models, profiles and engines")
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    listing.set_defaults(call=list_verb)
    run = verbs.add_parser(
        "run",
        help="predict a scenario in all its modes, and why it gains",
        epilog=RUN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("scenario", help="a shipped scenario's name (see 'overlapsim list') or a path to a .toml file")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a field of the scenario")
    run.add_argument("--model", metavar="CONFIG", help="a Hugging Face config.json of a Llama-type model to serve")
    run.add_argument("--seed", type=int, default=0, help="seed of everything drawn at random (default 0)")
    run.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="also write summary.json, timeline.json (Perfetto) and timeline.png"
    )
    run.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="CONDITION",
        help="exit 1 unless it holds, such as 'overlap-graph.speedup>1.3'",
    )
    run.set_defaults(call=run_verb)
    return top


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Go on quietly when whoever reads standard output has seen enough; the exit code is still the answer's."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def list_verb(arguments: argparse.Namespace) -> int:
    """Print what is shipped."""
    from scenarios import shelf

    scenarios = shelf.list_scenarios()
    others = {"models": shelf.list_models(), "profiles": shelf.list_profiles(), "engines": shelf.list_engines()}
    if arguments.json:
        import json

        rows = [{"name": name, "kind": kind, "title": title} for name, kind, title in scenarios]
        text = json.dumps({"scenarios": rows, **others}, indent=2)
    else:
        width = max(len(name) for name, _, _ in scenarios)
        lines = ["scenarios"]
        lines += [f"  {name:{width}}  {kind:8}  {title}" for name, kind, title in scenarios]
        lines += [f"{what}\n  {', '.join(names)}" for what, names in others.items()]
        text = "\n".join(lines)
    with reader_may_leave():
        print(text, flush=True)
    return DONE


def run_verb(arguments: argparse.Namespace) -> int:
    """Run a scenario in all its modes, print the answer and write its files."""
    from rich.console import Console

    from scenarios.errors import Problem, ScenarioError
    from scenarios.loader import load_scenario
    from sim.studies.expectation import Expectation
    from sim.studies.files import check_folder
    from sim.studies.report import Printer, print_results
    from sim.studies.results import modes_of, run_all

    expectations = [Expectation.parse(text) for text in arguments.expect]
    if arguments.out is not None:
        check_folder(arguments.out)
    if arguments.model and any(text.partition("=")[0].strip() == "model" for text in arguments.set):
        raise ScenarioError([Problem("--model", "", "no such option beside '--set model=...'")])
    loaded = load_scenario(arguments.scenario, arguments.set, arguments.model)
    for expectation in expectations:
        expectation.check_mode(modes_of(loaded.scenario))
    with Console(stderr=True).status(f"{arguments.scenario}: simulating") as status:
        results = run_all(loaded, arguments.seed, lambda what: status.update(f"{arguments.scenario}: {what}"))
    results.changes = tuple(arguments.set)
    broken = [text for text in (e.check(results.modes) for e in expectations) if text]
    with reader_may_leave():
        if arguments.json:
            import json

            print(json.dumps(results.as_json(), indent=2), flush=True)
        else:
            print_results(Printer(width=None if sys.stdout.isatty() else 120), results)
    if arguments.out is not None:
        from sim.studies.files import write_files

        written = write_files(arguments.out, results)
        if not arguments.json:
            with reader_may_leave():
                print("wrote " + ", ".join(str(path) for path in written), flush=True)
    for text in broken:
        print(f"overlapsim: {text}", file=sys.stderr)
    return NO if broken else DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        parser().print_help()
        return DONE
    verbs = ("list", "run")
    if not words[0].startswith("-") and words[0] not in verbs:
        near = get_close_matches(words[0], verbs, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(verbs)}"
        print(f"overlapsim: no verb {words[0]!r}, {hint}", file=sys.stderr)
        return BAD_INPUT
    try:
        arguments = parser().parse_args(words)
        call: Callable[[argparse.Namespace], int] = arguments.call
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else BAD_INPUT
    from scenarios.errors import ScenarioError

    try:
        return call(arguments)
    except ScenarioError as error:
        for problem in error.problems:
            print(f"overlapsim: {problem}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(f"overlapsim: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
