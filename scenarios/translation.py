"""Pydantic's verdict on a file, put into our words."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from scenarios.errors import MISSING, Bare, Place, Problem, Refusal, Refusals, ScenarioError, dotted
from scenarios.outline import Spot, keys, locate

T = TypeVar("T", bound=BaseModel)

Origin = Callable[[str], str]
"""Which file a dotted key came from: the scenario's, or `--set`."""


def validated(schema: type[T], tree: Mapping[str, Any], origin: Origin) -> T:
    """Build `schema` from a parsed file, or raise `ScenarioError` with everything that is wrong with it."""
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        found = [problem for one in error.errors() for problem in _problems(one, schema, origin)]
        raise ScenarioError(found) from None


def _problems(error: Mapping[str, Any], schema: type[BaseModel], origin: Origin) -> list[Problem]:
    if error["type"] == "too_short" and error["input"]:
        return []  # pydantic also counts a list short for items that are wrong and reported themselves
    tagged: Place = error["loc"]
    # the last part is never a tag where it is a key that the user made up
    place = (*(part for part in tagged[:-1] if not _is_tag(part)), *tagged[-1:])
    if error["type"] != "extra_forbidden" and place and _is_tag(place[-1]):
        place = place[:-1]
    refused = error.get("ctx", {}).get("error")
    if isinstance(refused, Refusals):
        return [_problem(refusal, place, origin) for refusal in refused.refusals]
    if isinstance(refused, Refusal):
        return [_problem(refused, place, origin)]
    if error["type"] == "extra_forbidden":
        path = dotted(place)
        return [Problem(origin(path), path, _unknown(schema, tagged, place))]
    found, expected = MISSING if error["type"] == "missing" else error["input"], locate(schema, tagged).expected()
    if error["type"].startswith("union_tag") and isinstance(found, dict):
        tag = "op" if "op" in expected.split() else "kind"
        found = Bare(f"{tag} {found[tag]!r}" if tag in found else f"a table without {tag}")
    return [_problem(Refusal(found, expected), place, origin)]


def _problem(refusal: Refusal, place: Place, origin: Origin) -> Problem:
    path = dotted((*place, *refusal.at))
    return Problem(origin(path), path, refusal.message)


def _is_tag(part: str | int) -> bool:
    return isinstance(part, str) and part.startswith("<")


def _unknown(schema: type[BaseModel], tagged: Place, place: Place) -> str:
    *_, name = place
    siblings = list(locate(schema, tagged[:-1]).fields)
    if close := difflib.get_close_matches(str(name), siblings, n=1):
        return f"unknown key; did you mean {dotted((*place[:-1], close[0]))!r}?"
    everywhere = list(keys(Spot.of(schema)))
    same_name = [key for key in everywhere if key.rsplit(".", 1)[-1] == name]
    if close := same_name or difflib.get_close_matches(dotted(place), everywhere, n=1):
        return f"unknown key; did you mean {close[0]!r}?"
    return "unknown key"
