"""What every verb's options are made with."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from sim.verbs import BAD_INPUT

if TYPE_CHECKING:
    from pathlib import Path

    from scenarios.errors import Problem
    from scenarios.loader import LoadedScenario

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  argparse has no public name for it


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and leave with exit code 2."""
        print(f"{self.prog}: {message} (see '{self.prog} --help')", file=sys.stderr)
        raise SystemExit(BAD_INPUT)

    def refuse(self, unknown: list[str]) -> NoReturn:
        """Say that these words are none of this parser's, and what may have been meant."""
        word = unknown[0].partition("=")[0]
        near = get_close_matches(word, self._option_string_actions, 1)
        if not word.startswith("-"):
            hint = "; quote what belongs together"
        elif word in near:
            hint = "; a verb's options stand behind it"
        else:
            hint = f"; did you mean {near[0]!r}?" if near else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def add_verb(
    verbs: Verbs, name: str, summary: str, call: Callable[[argparse.Namespace], int], examples: str = ""
) -> argparse.ArgumentParser:
    """A verb's parser; ``examples`` stand under its options."""
    verb = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(call=call, parser=verb)
    return verb


def add_scenario(verb: argparse.ArgumentParser) -> None:
    """The scenario and what changes it: the same words for every verb that takes one."""
    verb.add_argument("scenario", help="a shipped scenario's name (see 'overlapsim list') or a path to a .toml file")
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a field of the scenario"
    )
    verb.add_argument("--model", metavar="CONFIG", help="a Hugging Face config.json of a Llama-type model to serve")
    verb.add_argument("--seed", type=int, default=0, help="seed of everything drawn at random (default 0)")


def load(arguments: argparse.Namespace) -> LoadedScenario:
    """The scenario that the options of ``add_scenario`` name; raises ``ScenarioError``."""
    from scenarios.errors import Problem, ScenarioError
    from scenarios.loader import load_scenario

    if arguments.model and any(text.partition("=")[0].strip() == "model" for text in arguments.set):
        raise ScenarioError([Problem("--model", "", "no such option beside '--set model=...'")])
    return load_scenario(arguments.scenario, arguments.set, arguments.model)


def words_of(arguments: argparse.Namespace) -> list[str]:
    """The words that name the same scenario on another command line that has these options."""
    words = [arguments.scenario, *(word for text in arguments.set for word in ("--set", text))]
    words += ["--model", arguments.model] if arguments.model else []
    return [*words, "--seed", str(arguments.seed)]


def file_problems(option: str, path: Path | None, suffix: str = "") -> list[Problem]:
    """What is wrong with the name of a file that is to be written, if one was given: told before anything is run."""
    from scenarios.errors import Problem

    if path is None or (
        path.resolve().parent.is_dir() and not path.is_dir() and path.suffix == (suffix or path.suffix)
    ):
        return []
    kind = f"a {suffix} file" if suffix else "a file"
    return [Problem(option, "", f"found {str(path)!r}, expected {kind} in a folder that exists")]


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Go on quietly when whoever reads standard output has seen enough; the exit code is still the answer's."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
