"""The examples of every help text are commands that there are, of scenarios that load."""

from __future__ import annotations

import re
import shlex
from importlib import import_module

import pytest

from scenarios.loader import load_scenario
from scenarios.shelf import SCENARIOS
from sim.cli import EXAMPLES, KEYWORDS, VERBS, parser


def examples_of(text: str) -> list[str]:
    """Its command lines, without the remarks that stand behind some."""
    lines = (line.strip() for line in text.splitlines())
    return [re.split(r" {2,}", line)[0] for line in lines if line.startswith("overlapsim ")]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_the_examples_of_a_help_text_parse_and_load(verb: str) -> None:
    text = import_module(f"sim.verbs.{KEYWORDS.get(verb, verb)}").EXAMPLES if verb else EXAMPLES
    examples = [shlex.split(example)[1:] for example in examples_of(text)]
    assert [words for words in examples if verb in ("", words[0])]
    for words in examples:
        if "--help" in words:
            continue
        arguments, unknown = parser().parse_known_args(words)
        assert unknown == []
        overrides = [text for text in getattr(arguments, "set", ()) if not text.endswith(".toml")]
        if SCENARIOS.find(getattr(arguments, "scenario", None) or "") is not None:
            load_scenario(arguments.scenario, overrides)
