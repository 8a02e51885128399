"""Pieces of prompts on an H100: what their context adds, by the shipped profile."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scenarios.loader import load_model, load_profile
from sim.program.durations import Durations
from sim.program.transformer import Transformer, Work
from sim.studies.validation.cases import predicted_again
from sim.studies.validation.clients import client_errors
from sim.studies.validation.results_file import read_results

FOLDER = Path(__file__).parents[3] / "gpu/results/nvidia-h100"
ROWS: list[dict[str, Any]] = json.loads((FOLDER / "chunks.json").read_text())["rows"]
DURATIONS = Durations(load_profile("nvidia-h100"))


def attention(model: str, start: int, tokens: int) -> tuple[float, float]:
    """Microseconds of a piece's attention and of its gathers."""
    transformer = Transformer(load_model(model), DURATIONS, "engine")
    layer = transformer.forward(Work(tokens, 1, prompts=((start, tokens),))).layer
    us = {name: sum(k.ns for k in layer if k.name.startswith(name)) / 1000 for name in ("prefill_attention", "gather")}
    return us["prefill_attention"], us["gather"]


@pytest.mark.parametrize(
    ("before", "after"), [(a, b) for a, b in pairwise(ROWS) if a["tokens"] == b["tokens"] and a["model"] == b["model"]],
    ids=lambda row: f"{row['model']} {row['tokens']} after {row['start']}",
)  # fmt: skip
def test_what_more_context_adds_is_within_a_tenth(before: dict[str, Any], after: dict[str, Any]) -> None:
    (shorter, _), (longer, _) = (attention(row["model"], row["start"], row["tokens"]) for row in (before, after))
    measured = after["us"] - after["gathers"] - before["us"] + before["gathers"]
    assert longer - shorter == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']} {row['tokens']} after {row['start']}")
def test_gathers_are_within_three_microseconds(row: dict[str, Any]) -> None:
    _, gathers = attention(row["model"], row["start"], row["tokens"])
    assert gathers == pytest.approx(row["gathers"], abs=3.0)


def test_clients_of_a_server_that_cuts_prompts_see_what_was_measured() -> None:
    results = read_results(FOLDER / "scheduling.json")
    cut = results.model_copy(update={"cases": [case for case in results.cases if "chunked" in case.scenario][:1]})
    missed = [error.name for error in client_errors(predicted_again(cut).cases, in_process=True) if not error.within]
    assert not missed
