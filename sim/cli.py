"""The command line: find the verb, call it, and turn errors into one line each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module

from sim.verbs import BAD_INPUT, DONE, INTERRUPTED
from sim.verbs.parsing import Parser

VERBS = (
    "list", "run", "from", "breakdown", "buckets", "capacity", "chapter", "sweep", "validate", "calibrate",
    "doctor", "capture", "check",
)  # fmt: skip
"""Modules of ``sim.verbs``, in the order of the help text."""
KEYWORDS = {"from": "from_launch_line"}
"""Modules of verbs whose names no module can have."""
EXAMPLES = """\
examples:
  overlapsim run decode-llama-3.1-8b                            what graphs and overlap gain, and why
  overlapsim run decode-llama-3.1-8b --set workload.batch=64    any field of a scenario can be set
  overlapsim list                                               what else there is to run
  overlapsim from "vllm serve Qwen/Qwen3-0.6B" --out mine.toml  a scenario of your own server
  overlapsim run --help                                         options and examples of a verb

exit codes: 0 done, 1 the answer is no (such as a failed --expect), 2 bad input, 130 interrupted
"""


class Version(argparse.Action):
    """Prints the installed version; looking it up takes longer than the rest of the help."""

    def __call__(self, *_: object) -> None:
        """Print and leave."""
        from importlib.metadata import version

        print(f"overlapsim {version('overlapsim')}")
        raise SystemExit(DONE)


def parser() -> Parser:
    """All verbs and their options."""
    top = Parser(
        prog="overlapsim",
        description="Predict what CUDA graphs and overlap scheduling gain an LLM inference server.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for name in VERBS:
        import_module(f"sim.verbs.{KEYWORDS.get(name, name)}").add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else BAD_INPUT
    except OSError as error:
        print(f"overlapsim: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(words: list[str]) -> int:
    top = parser()
    if not words:
        top.print_help()
        return DONE
    if not words[0].startswith("-") and words[0] not in VERBS:
        near = get_close_matches(words[0], VERBS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(VERBS)}"
        print(f"overlapsim: no verb {words[0]!r}, {hint}", file=sys.stderr)
        return BAD_INPUT
    arguments, unknown = top.parse_known_args(words)
    if unknown:
        asked: Parser = getattr(arguments, "parser", top)
        asked.refuse(unknown)
    call: Callable[[argparse.Namespace], int] = arguments.call
    from scenarios.errors import ScenarioError

    try:
        return call(arguments)
    except ScenarioError as error:
        for problem in error.problems:
            print(f"overlapsim: {problem}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        if hasattr(arguments, "resume") and arguments.out is not None:
            print("overlapsim: interrupted; the same command with --resume goes on", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
