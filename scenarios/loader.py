"""From a name or a path to a scenario with everything it refers to, validated."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from scenarios.engine import EnginePreset
from scenarios.errors import MISSING, Problem, Refusal, ScenarioError, listed
from scenarios.hugging_face import from_hugging_face
from scenarios.model import ModelShape, TimerModel
from scenarios.overrides import Overrides
from scenarios.profile import Profile
from scenarios.program import Program, WithoutServer
from scenarios.scenario import Serving
from scenarios.shelf import (
    ENGINES,
    MODELS,
    PROFILES,
    SCENARIOS,
    TRAININGS,
    Shelf,
    find_file,
    list_engines,
    list_models,
    list_profiles,
    list_scenarios,
    read_toml,
)
from scenarios.table import Table
from scenarios.training import Training, TrainingCosts
from scenarios.translation import Origin, validated

__all__ = [
    "LoadedScenario",
    "list_engines",
    "list_models",
    "list_profiles",
    "list_scenarios",
    "load_engine",
    "load_model",
    "load_profile",
    "load_scenario",
]

T = TypeVar("T", bound=Table)

Scenario = Serving | Program | Training
_SCHEMAS: dict[str, type[Scenario]] = {"serving": Serving, "program": Program, "training": Training}


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario and what it refers to.

    `engine` is the preset with the scenario's overrides applied; `model` is None without a server, `training` None but
    for a training scenario. `digest` names the content: two scenarios with the same digest ask for the same run,
    wherever their files lie. `missing` says why the engine does not have some of the modes that were asked for.
    """

    scenario: Scenario
    model: ModelShape | TimerModel | None
    profile: Profile
    engine: EnginePreset
    source: str
    missing: Mapping[str, str] = field(default_factory=dict)
    training: TrainingCosts | None = None

    @property
    def digest(self) -> str:
        """Hash of all content; a file's name and place are not in it."""
        training = [self.training] if self.training else []
        return _digest(self.scenario, self.model, self.profile, self.engine, *training)

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that the scenario is run in."""
        return self.scenario.modes if isinstance(self.scenario, WithoutServer) else self.scenario.engine.modes


def load_scenario(
    name_or_path: str | Path, overrides: Sequence[str] = (), model_config: str | Path | None = None
) -> LoadedScenario:
    """Load a shipped scenario by name, or a scenario file by path.

    `overrides` are `key=value` texts. `model_config` is a Hugging Face config.json whose shape replaces
    the scenario's model. Raises `ScenarioError` with everything that is wrong: first of the scenario
    itself, then of all that it refers to.
    """
    source = str(name_or_path)
    path = SCENARIOS.find(source)
    if path is None:
        raise ScenarioError([Problem(source, "", SCENARIOS.missing(source))])
    file = _label(path, source)
    tree = read_toml(path, file)
    schema = _schema(tree, file)
    changes = Overrides(overrides, schema, tree)

    def origin(key: str) -> str:
        return changes.origin(key, file)

    scenario = validated(schema, changes.tree, origin)
    references = _References(path.parent, origin)
    with references.gather():
        model = references.model(scenario, model_config)
    with references.gather():
        profile = references.load(PROFILES, Profile, scenario.hardware.profile, "hardware.profile")
    with references.gather():
        engine = references.load(ENGINES, EnginePreset, scenario.engine.preset, "engine.preset")
    with references.gather():
        trace = references.trace(scenario)
    training: TrainingCosts | None = None
    with references.gather():
        if isinstance(scenario, Training):
            training = references.load(TRAININGS, TrainingCosts, scenario.costs, "costs")
    if references.problems:
        raise ScenarioError(references.problems)
    missing: dict[str, str] = {}
    if isinstance(scenario, Serving):
        engine = scenario.engine.applied_to(engine)
        scenario, missing = _with_modes_of(engine, scenario, origin)
    if isinstance(scenario, Serving) and trace is not None:
        workload = scenario.workload.model_copy(update={"trace": str(trace.resolve())})
        scenario = scenario.model_copy(update={"workload": workload})
    return LoadedScenario(scenario, model, profile, engine, source, missing, training)


def load_model(name: str) -> ModelShape:
    """Load a shipped model shape, or one from a path ending in .toml."""
    return _load(MODELS, ModelShape, name)


def load_profile(name_or_path: str) -> Profile:
    """Load a shipped hardware profile, or one from a path ending in .toml."""
    return _load(PROFILES, Profile, name_or_path)


def load_engine(name_or_path: str) -> EnginePreset:
    """Load a shipped engine preset, or one from a path ending in .toml."""
    return _load(ENGINES, EnginePreset, name_or_path)


def _with_modes_of(engine: EnginePreset, scenario: Serving, origin: Origin) -> tuple[Serving, dict[str, str]]:
    """The scenario in those of its modes that the engine has, and why it has not the others."""
    missing: dict[str, str] = {mode: why for mode in scenario.engine.modes if (why := engine.lacks(mode)) is not None}
    modes = tuple(mode for mode in scenario.engine.modes if mode not in missing)
    if not modes:
        message = f"{engine.name} has none of {', '.join(missing)}: {'; '.join(dict.fromkeys(missing.values()))}"
        raise ScenarioError([Problem(origin("engine.modes"), "engine.modes", message)])
    return scenario.model_copy(update={"engine": scenario.engine.model_copy(update={"modes": modes})}), missing


def _load(shelf: Shelf, schema: type[T], name: str) -> T:
    path = shelf.find(name)
    if path is None:
        raise ScenarioError([Problem(name, "", shelf.missing(name))])
    return _read(schema, path, name)


def _read(schema: type[T], path: Path, name: str) -> T:
    state = path.stat()
    table = _read_once(schema, path, name, (state.st_mtime_ns, state.st_size))
    assert isinstance(table, schema)
    return table


@lru_cache(maxsize=64)
def _read_once(schema: type[Table], path: Path, name: str, _state: tuple[int, int]) -> Table:
    """A file as it is now: studies load the same profile thousands of times."""
    label = _label(path, name)
    tree = read_toml(path, label)
    if schema is EnginePreset and isinstance(base := tree.get("extends"), str):
        if base not in ENGINES.names():
            raise ScenarioError([Problem(label, "extends", Refusal(base, listed(ENGINES.names())).message)])
        tree = _merged(read_toml(ENGINES.folder / f"{base}.toml", f"{base}.toml"), tree)
    return validated(schema, tree, lambda _: label)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A table with another's values where it has none."""
    tables = {key: _merged(base[key], value) for key, value in own.items() if isinstance(value, dict) and key in base}
    return {**base, **own, **tables}


def _label(path: Path, name: str) -> str:
    """Call a file what the user called it, a shipped one by its own name."""
    return name if name.endswith(".toml") else path.name


def _schema(tree: dict[str, Any], file: str) -> type[Scenario]:
    kind = tree.get("kind", MISSING)
    if not isinstance(kind, str) or kind not in _SCHEMAS:
        raise ScenarioError([Problem(file, "kind", Refusal(kind, listed(_SCHEMAS)).message)])
    return _SCHEMAS[kind]


class _References:
    """Loads what a scenario refers to, and keeps the problems until all of it has been tried."""

    def __init__(self, beside: Path, origin: Origin) -> None:
        self.beside = beside
        self.origin = origin
        self.problems: list[Problem] = []

    @contextmanager
    def gather(self) -> Iterator[None]:
        try:
            yield
        except ScenarioError as error:
            self.problems += error.problems

    def load(self, shelf: Shelf, schema: type[T], name: str, key: str) -> T:
        path = shelf.find(name, self.beside)
        if path is None:
            message = Refusal(name, shelf.expected(name)).message
            raise ScenarioError([Problem(self.origin(key), key, message)])
        return _read(schema, path, name)

    def model(self, scenario: Scenario, config: str | Path | None) -> ModelShape | TimerModel | None:
        if isinstance(scenario, WithoutServer):
            if config is not None:
                raise ScenarioError([Problem(str(config), "", f"a {scenario.kind} has no model to replace")])
            return None
        if config is not None:
            return from_hugging_face(config)
        if isinstance(scenario.model, str):
            return self.load(MODELS, ModelShape, scenario.model, "model")
        return scenario.model

    def trace(self, scenario: Scenario) -> Path | None:
        if isinstance(scenario, WithoutServer) or scenario.workload.trace is None:
            return None
        key, name = "workload.trace", scenario.workload.trace
        path = find_file(name, self.beside)
        if path is None or path.suffix not in (".csv", ".jsonl"):
            message = Refusal(name, "an existing .csv or .jsonl file").message
            raise ScenarioError([Problem(self.origin(key), key, message)])
        return path


def _digest(scenario: Scenario, *parts: Table | None) -> str:
    """Hash the content that a run depends on: names of files are left out, what is in them is put in."""
    trace = scenario.workload.trace if isinstance(scenario, Serving) else None
    own = scenario.model_dump(mode="json", exclude={"model", "hardware"})
    own["engine"].pop("preset")
    if trace is not None:
        own["workload"]["trace"] = hashlib.sha256(Path(trace).read_bytes()).hexdigest()
    content = [json.dumps(own, sort_keys=True), *(_content(_Same(part)) for part in parts)]
    return hashlib.sha256(f"[{', '.join(content)}]".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Same:
    """A table that is equal to itself alone."""

    table: Table | None

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.table is other.table


@lru_cache(maxsize=64)
def _content(part: _Same) -> str:
    """A table as JSON; files are read once, so most tables come more than once."""
    return json.dumps(part.table and part.table.model_dump(mode="json"), sort_keys=True)
