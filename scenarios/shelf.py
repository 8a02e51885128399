"""The files we ship, by kind, and how a name or a path in a scenario finds one. Free of pydantic."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.errors import Problem, ScenarioError, listed, near
from scenarios.text import read_text

_HERE = Path(__file__).parent
FEW = 12
"""Shipped names up to which all are told where none is close."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of shipped TOML files that users refer to by name."""

    noun: str
    folder: Path

    def names(self) -> list[str]:
        """Names of the shipped files, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.toml"))

    def find(self, name: str, beside: Path | None = None) -> Path | None:
        """Return the file meant by a shipped name or by a path ending in .toml, or None if there is none.

        A relative path is looked for in the folder `beside` first, then in the working directory.
        """
        if name.endswith(".toml"):
            return find_file(name, beside)
        path = self.folder / f"{name}.toml"
        return path if path.parent == self.folder and path.is_file() else None

    def expected(self, name: str, *others: "Shelf") -> str:
        """Say what may stand where `name` was found: close shipped names, of `others` too, or a path."""
        nouns = " or ".join(shelf.noun for shelf in (self, *others))
        known = [name for shelf in (self, *others) for name in shelf.names()]
        shown = near(name, known) or (known if len(known) <= FEW else ())
        names = f"({listed(shown)})" if shown else "(see 'overlapsim list')"
        return f"a shipped {nouns} {names} or a path to a .toml file"

    def missing(self, name: str, *others: "Shelf") -> str:
        """Say why `find` has nothing for this name."""
        if Path(name).is_dir():
            return "a folder, expected a file"
        if name.endswith(".toml"):
            return "no such file"
        if self is not SUITES and name in SUITES.names():
            return f"a suite, which is for 'overlapsim validate', expected {self.expected(name, *others)}"
        return f"no such file, expected {self.expected(name, *others)}"


SCENARIOS = Shelf("scenario", _HERE / "library")
MODELS = Shelf("model", _HERE / "models")
PROFILES = Shelf("profile", _HERE / "hardware")
ENGINES = Shelf("engine preset", _HERE / "engines")
TRAININGS = Shelf("training costs", _HERE / "training")
SUITES = Shelf("suite", _HERE / "suites")


def find_file(name: str, beside: Path | None = None) -> Path | None:
    """Return an existing file, relative to the folder `beside` or else to the working directory."""
    candidates = ([beside / name] if beside else []) + [Path(name)]
    return next((path for path in candidates if path.is_file()), None)


def read_toml(path: Path, label: str) -> dict[str, Any]:
    """Parse a file, or raise `ScenarioError` naming the line that is no TOML."""
    try:
        return tomllib.loads(read_text(path, label))
    except tomllib.TOMLDecodeError as error:
        what, line = str(error), re.search(r" \(at line (\d+), column \d+\)$", str(error))
        place = f"line {line[1]}" if line else ""
        message = f"no valid TOML: {what[: line.start()] if line else what}"
        raise ScenarioError([Problem(label, place, message)]) from None


def list_scenarios() -> list[tuple[str, str, str]]:
    """Name, kind and title of every shipped scenario."""
    trees = {name: read_toml(SCENARIOS.folder / f"{name}.toml", f"{name}.toml") for name in SCENARIOS.names()}
    return [(name, tree["kind"], tree["title"]) for name, tree in trees.items()]


def list_suites() -> list[tuple[str, str]]:
    """Name and title of every shipped suite."""
    return [(name, read_toml(SUITES.folder / f"{name}.toml", f"{name}.toml")["title"]) for name in SUITES.names()]


def list_models() -> list[str]:
    """Names of the shipped model shapes."""
    return MODELS.names()


def list_profiles() -> list[str]:
    """Names of the shipped hardware profiles."""
    return PROFILES.names()


def list_engines() -> list[str]:
    """Names of the shipped engine presets."""
    return ENGINES.names()
