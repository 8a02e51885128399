"""`--set key=value`: changes to a scenario file's tree before it is validated."""

import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from scenarios.errors import Problem, Refusal, ScenarioError
from scenarios.outline import Spot, locate
from scenarios.workload import BESIDE, FORMS

FILE = "--set"
"""What error messages call the command line's overrides."""

_DEFAULT_REQUESTS = 256


class Overrides:
    """The tree of a file with `key=value` texts put in, for one schema.

    A value is taken as TOML where it is valid TOML, otherwise as a string. In place of a list, items may
    be separated by commas; in place of a string, nothing needs quotes. The file's own tree is left as it
    was. Raises `ScenarioError` for texts that are no `key=value` and for keys that lead through a value.
    """

    def __init__(self, texts: Sequence[str], schema: type[BaseModel], tree: dict[str, Any]) -> None:
        self.tree = self._before = tree
        self.values: dict[tuple[str, ...], Any] = {}
        self._roots: list[str] = []
        problems = []
        for text in texts:
            key, equals, value = text.partition("=")
            parts = tuple(part.strip() for part in key.split("."))
            if not equals or not all(parts):
                expected = "key=value, such as workload.batch=32"
                problems.append(Problem(FILE, "", Refusal(text, expected).message))
            else:
                problems += self._put(parts, _value(value.strip(), locate(schema, parts)))
        if problems:
            raise ScenarioError(problems)
        self.tree = self._with_one_form(self.tree)

    def origin(self, path: str, file: str) -> str:
        """Tell whether a place in the changed tree comes from an override or from the file."""
        mine = any(path == root or path.startswith((f"{root}.", f"{root}[")) for root in self._roots)
        return FILE if mine else file

    def _put(self, parts: tuple[str, ...], value: Any) -> list[Problem]:
        """Set one key, and remember the outermost table that did not exist without it."""
        root = ".".join(parts)
        node: Any = self.tree
        for depth, part in enumerate(parts):
            if not isinstance(node, dict):
                return [Problem(FILE, root, f"{'.'.join(parts[:depth])} is no table")]
            if part not in node:
                root = ".".join(parts[: depth + 1])
                break
            node = node[part]
        self._roots.append(root)
        self.values[parts] = value
        self.tree = _with(self.tree, parts, value)
        return []

    def _with_one_form(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Let a workload's new form take the place of the file's, so that one override is enough."""
        mine = {parts[1] for parts in self.values if parts[0] == "workload" and len(parts) > 1}
        form = next((form for form in FORMS if form in mine), None)
        workload, before = tree.get("workload"), self._before.get("workload")
        if form is None or not isinstance(workload, dict) or (isinstance(before, dict) and form in before):
            return tree
        keys = {key for keys in BESIDE.values() for key in keys} | set(FORMS)
        kept = ({form} | set(BESIDE[form])) - {"requests"} if form == "trace" else {form} | set(BESIDE[form])
        workload = {key: value for key, value in workload.items() if key in mine or key in kept or key not in keys}
        if form in ("rate", "clients"):
            workload.setdefault("requests", _DEFAULT_REQUESTS)
        return {**tree, "workload": workload}


def _value(text: str, spot: Spot) -> Any:
    parsed = _toml(text)
    if spot.is_list and not isinstance(parsed, list):
        return [_value(item.strip(), spot.below(0)) for item in text.split(",")]
    return text if spot.kind is str and not isinstance(parsed, str) else parsed


def _toml(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def _with(tree: dict[str, Any], parts: tuple[str, ...], value: Any) -> dict[str, Any]:
    head, *rest = parts
    return {**tree, head: _with(tree.get(head, {}), tuple(rest), value) if rest else value}
