"""Whatever is written into a file, its author reads our words and not pydantic's."""

import copy
import tomllib
from typing import Any

from bench_files import ENGINE, PROFILE, PROGRAM, SERVING
from hypothesis import given
from hypothesis import strategies as st

from scenarios.engine import EnginePreset
from scenarios.errors import Problem, ScenarioError
from scenarios.profile import Profile
from scenarios.program import Program
from scenarios.scenario import Serving
from scenarios.table import Table
from scenarios.translation import validated

FILES: list[tuple[type[Table], dict[str, Any]]] = [
    (Profile, tomllib.loads(PROFILE)),
    (EnginePreset, tomllib.loads(ENGINE)),
    (Serving, tomllib.loads(SERVING)),
    (Program, tomllib.loads(PROGRAM)),
]
VALUES = st.recursive(
    st.integers() | st.floats() | st.booleans() | st.dates() | st.sampled_from(["", "3", "-1us", "2ms", "<name>"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["op", "kind", "base", "<x>", "ops"]), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[type[Table], dict[str, Any]]:
    """Draw a valid file with one value, at any depth, replaced, taken away or added."""
    schema, valid = draw(st.sampled_from(FILES))
    tree = copy.deepcopy(valid)
    node: Any = tree
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        inner = node[key]
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            node = inner
            continue
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                node[key] = draw(VALUES)
            case "remove":
                del node[key]
            case _ if isinstance(node, dict):
                node[draw(st.sampled_from(["extra", "<extra>", "op", "kind"]))] = draw(VALUES)
            case _:
                node.append(draw(VALUES))
        return schema, tree


@given(spoiled())
def test_a_spoiled_file_loads_or_says_what_was_expected_where(
    case: tuple[type[Table], dict[str, Any]],
) -> None:
    for problem in problems_of(*case):
        assert problem.message.startswith(("found ", "missing, expected ", "unknown key"))
        assert "Input" not in problem.message
        assert "<shape>" not in problem.path


def problems_of(schema: type[Table], tree: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        validated(schema, tree, lambda _: "x.toml")
    except ScenarioError as error:
        return error.problems
    return ()
