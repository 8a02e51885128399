"""The function that a user names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from gpu.capture.inputs import MakeInputs, drawn
from scenarios.errors import Problem, ScenarioError


@dataclass(frozen=True, slots=True)
class Target:
    """A function, and what makes its arguments from a seed and a device's name."""

    name: str
    function: Callable[..., Any]
    inputs: MakeInputs


def find_target(
    words: str, on: str, inputs: Sequence[str] = (), maker: str | None = None, *, build: bool = False
) -> Target:
    """The target that ``MODULE:FUNCTION`` names; MODULE is importable from here, or a path to a .py file.

    ``build``: the function is called with the device's name and returns the one to capture. Arguments come from
    ``inputs`` (see ``drawn``), else from the module's function ``maker``, else from its function ``inputs``, else there
    are none. Raises ``ScenarioError`` for what is not there or cannot be imported.
    """
    module_name, _, name = words.partition(":")
    if not module_name or not name:
        raise ScenarioError([Problem(words, "", "expected MODULE:FUNCTION, such as my_model:step or model.py:step")])
    module = _imported(module_name)
    function = _member(module, module_name, name)
    if build:
        function = function(on)
    if isinstance(function, torch.nn.Module):
        function = function.to(on)
    if inputs:
        return Target(words, function, drawn(inputs))
    if maker is not None or hasattr(module, "inputs"):
        return Target(words, function, _member(module, module_name, maker or "inputs"))
    if needed := _required(function):
        missing = f"takes {', '.join(needed)}, and nothing gives them"
        expected = "a function inputs(seed, device) in the module, or one --input for each"
        raise ScenarioError([Problem(words, "", f"{missing}: expected {expected}")])
    return Target(words, function, lambda _seed, _device: ())


def _imported(name: str) -> ModuleType:
    path = Path(name)
    folder = str(path.parent.resolve() if name.endswith(".py") else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # for good: functions import what they need when they need it
    if name.endswith(".py") and not path.is_file():
        raise ScenarioError([Problem(name, "", "no such file")])
    try:
        if not name.endswith(".py"):
            return import_module(name)
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
    except Exception as error:
        problem = Problem(name, "", f"cannot be imported: {type(error).__name__}: {error}")
        raise ScenarioError([problem]) from error
    return module


def _member(module: ModuleType, module_name: str, name: str) -> Any:
    found = getattr(module, name, None)
    if callable(found):
        return found
    names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = get_close_matches(name, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    state = f"a {type(found).__name__}" if found is not None else "nothing of that name"
    raise ScenarioError([Problem(module_name, name, f"found {state}, expected a function or module{hint}")])


def _required(function: Callable[..., Any]) -> list[str]:
    called = function.forward if isinstance(function, torch.nn.Module) else function
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(called).parameters.values()
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
