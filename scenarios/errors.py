"""What is wrong with a user's files: every problem with its file, its place in the file and what to write.

Free of pydantic, so that a command line can name `ScenarioError` before it loads anything.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class Bare(str):
    """Words to print as they are where a value is shown: `found no '='`."""

    __slots__ = ()


MISSING = Bare("missing")
"""Found instead of a value where a key that must be there is not."""

Place = tuple[str | int, ...]
"""Keys and list positions from the root of a file, as in ("threads", 0, "ops")."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `path` is the dotted key in `file`, and empty where the whole file is meant."""

    file: str
    path: str
    message: str

    def __str__(self) -> str:
        """One line, `decode.toml: workload.batch: found 0, expected an integer of at least 1`."""
        return ": ".join(part for part in (self.file, self.path, self.message) if part)


class ScenarioError(Exception):
    """All problems found in what the user gave us. Printed one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        """All problems, one a line."""
        return "\n".join(map(str, self.problems))


class Refusal(ValueError):  # noqa: N818  a validator's verdict, turned into a Problem before a user sees it
    """A value that a rule refuses: what was found, what was expected, where below the rule's own place."""

    def __init__(self, found: object, expected: str, at: Place = ()) -> None:
        self.message = f"{MISSING if found is MISSING else f'found {show(found)}'}, expected {expected}"
        self.at = at
        super().__init__(self.message)


class Refusals(ValueError):  # noqa: N818  as above
    """Several refusals of one rule, such as every op that waits for an event nobody records."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("; ".join(map(str, refusals)))


def show(value: object) -> str:
    """Write a value as its author would in TOML, or name it where it is long."""
    if isinstance(value, Bare):
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, str | int | float | list | tuple):
        text = repr(_lists(value))
        if len(text) <= 60:
            return text
        return "a long list" if isinstance(value, list | tuple) else f"{text[:57]}..."
    return str(value)  # dates and times, which TOML writes bare


def _lists(value: object) -> object:
    """A value whose tuples are lists, as they are in the file."""
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def dotted(place: Place) -> str:
    """Join a place as TOML readers say it: `threads[0].ops[2].duration`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def listed(names: Iterable[str], last: str = "or") -> str:
    """Quote names and join them: `'a', 'b' or 'c'`."""
    return joined([repr(name) for name in names], last)


def joined(words: Sequence[str], last: str) -> str:
    """Join words with commas and one `last`: `value, source and date`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def near(name: str, known: Sequence[str]) -> list[str]:
    """The `known` names that `name` may have meant."""
    return difflib.get_close_matches(name, known, n=3, cutoff=0.5)


def nearest(name: str, known: Sequence[str]) -> str:
    """Quote the close ones of the `known` names, or all where none is close."""
    return listed(near(name, known) or known) if known else "nothing: none is shipped"
