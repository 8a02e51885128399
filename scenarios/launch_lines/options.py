"""Reading an engine's options out of the words of its launch line."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from scenarios.errors import Problem, ScenarioError

LINE = "launch line"
"""What error messages call the text."""


class Options(argparse.ArgumentParser):
    """The options that matter to a server's timing. Underscores in their names count as hyphens."""

    def __init__(self, timeless: Sequence[str]) -> None:
        """Take options named `timeless` to be without any effect on time."""
        super().__init__(add_help=False, allow_abbrev=False)
        self._timeless = set(timeless)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the line."""
        raise ScenarioError([Problem(LINE, "", message)])

    def read(self, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """The values found, and notes on the options that have no place in a scenario."""
        found, strangers = self.parse_known_args([_hyphened(word) for word in words])
        unknown: list[str] = []
        for word in strangers:
            if word.startswith("--") or not unknown:
                unknown.append(word)
            else:
                unknown[-1] += f" {word}"
        names = [option.split()[0].split("=")[0] for option in unknown]
        return found, [
            f"not modelled: {option}" for option, name in zip(unknown, names, strict=True) if name not in self._timeless
        ]


def _hyphened(word: str) -> str:
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected an integer of at least 1")
    return int(text)


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number above 0 and at most 1")
    return number


TIMELESS = (
    "--host", "--port", "--api-key", "--served-model-name", "--trust-remote-code", "--tokenizer", "--tokenizer-path",
    "--tokenizer-mode", "--log-level", "--seed", "--random-seed", "--download-dir", "--chat-template",
    "--disable-log-requests", "--enable-metrics", "--dtype", "--load-format", "--uvicorn-log-level",
    "--max-model-len", "--context-length", "--enable-auto-tool-choice", "--tool-call-parser", "--reasoning-parser",
    "--revision", "--disable-log-stats", "--watchdog-timeout",
)  # fmt: skip
"""Options of either engine that change no step's time; limits of lengths are said by the workload."""
