"""A suite: configurations of scenarios that a prediction is validated with, as one TOML file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from scenarios.errors import Problem, Refusal, ScenarioError
from scenarios.loader import LoadedScenario, load_scenario
from scenarios.shelf import SCENARIOS, SUITES, find_file, read_toml
from scenarios.table import NonEmpty, Rows, Table
from scenarios.translation import validated

Value = Annotated[
    int | float | str, Field(description="a number or a string as after '=' in --set, such as 16, '2ms' or '[4, 8]'")
]
NonEmptyValues = Annotated[NonEmpty[Value], Field(description="a list of values with at least one item")]


class Entry(Table):
    """A scenario with overrides; `vary` repeats it for every combination of its values, the last key fastest.

    `modes` leaves some of the scenario's modes out.
    """

    scenario: str
    set: Rows[str] = ()
    vary: dict[str, NonEmptyValues] = Field(default_factory=dict)
    modes: Rows[str] = ()

    def overrides(self) -> Iterator[tuple[str, ...]]:
        """The override texts of each configuration."""
        for values in product(*self.vary.values()):
            yield (*(f"{key}={value}" for key, value in zip(self.vary, values, strict=True)), *self.set)


class SuiteFile(Table):
    """One file of `suites/`."""

    kind: Literal["suite"]
    title: str
    entries: NonEmpty[Entry]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A loaded scenario and what made it: all of its `modes` run on the same weights, one after the other."""

    scenario: str
    set: tuple[str, ...]
    modes: tuple[str, ...]
    loaded: LoadedScenario

    @property
    def name(self) -> str:
        """Such as `decode-llama-3.1-8b batch=16 context=1024`; keys that end alike are written whole."""
        changes = [(key.strip(), value.strip()) for key, _, value in (text.partition("=") for text in self.set)]
        ends = [key.rsplit(".", 1)[-1] for key, _ in changes]
        words = [
            f"{key if ends.count(end) > 1 else end}={value}" for (key, value), end in zip(changes, ends, strict=True)
        ]
        return " ".join([self.scenario, *words])


@dataclass(frozen=True, slots=True)
class Suite:
    """Configurations in the order of the file."""

    name: str
    title: str
    configurations: tuple[Configuration, ...]

    @property
    def num_cases(self) -> int:
        """How many configurations times their modes."""
        return sum(len(c.modes) for c in self.configurations)


def load_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """A suite by its shipped name or path, or a single scenario as a suite of one; `overrides` go to every entry.

    Raises `ScenarioError` with everything that is wrong, in the file and in what it refers to.
    """
    path = SUITES.find(name)
    if path is None and (path := SCENARIOS.find(name)) is None:
        raise ScenarioError([Problem(name, "", SUITES.missing(name, SCENARIOS))])
    label = name if name.endswith(".toml") else path.name
    tree = read_toml(path, label)
    if tree.get("kind") != "suite" and path.parent != SUITES.folder:
        loaded = load_scenario(name, overrides)
        only = Configuration(name, tuple(overrides), loaded.modes, loaded)
        return Suite(name.removesuffix(".toml"), loaded.scenario.title, (only,))
    file = validated(SuiteFile, tree, lambda _: label)
    return Suite(path.stem, file.title, tuple(_expanded(file, path.parent, label, overrides)))


def _expanded(file: SuiteFile, beside: Path, label: str, overrides: Sequence[str]) -> list[Configuration]:
    found: list[Configuration] = []
    problems: list[Problem] = []
    seen: dict[Any, str] = {}
    for index, entry in enumerate(file.entries):
        place = f"entries[{index}]"
        own = find_file(entry.scenario, beside) if entry.scenario.endswith(".toml") else None
        source = entry.scenario if own is None else str(own)
        for changes in entry.overrides():
            texts = (*changes, *overrides)
            try:
                loaded = load_scenario(source, texts)
            except ScenarioError as error:
                problems += [Problem(label, place, str(problem)) for problem in error.problems]
                continue
            known = loaded.modes
            problems += [
                Problem(label, f"{place}.modes", Refusal(mode, f"one of the scenario's: {', '.join(known)}").message)
                for mode in entry.modes
                if mode not in known
            ]
            one = Configuration(source, texts, entry.modes or known, loaded)
            key = loaded.digest
            if key in seen:
                problems.append(Problem(label, place, f"{one.name!r} asks for the same runs as {seen[key]!r}"))
            seen[key] = one.name
            found.append(one)
    if problems:
        raise ScenarioError(dict.fromkeys(problems))
    return found
