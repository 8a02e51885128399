"""What a GPU said about capturing, as claims."""

from __future__ import annotations

import pytest

from sim.studies.chapter import constraints
from sim.studies.chapter.claim import Finding, Verdict
from sim.studies.chapter.constraints import CONSTRAINTS, DEBUGGING, seen, tried
from sim.studies.chapter.lab import Lab

CASES = {
    "provenance": {"gpu": "a GPU"},
    "cases": [
        {"row": "memory allocation", "case": "one", "verdict": "captured"},
        {"row": "memory allocation", "case": "two", "verdict": "frozen"},
        {"row": "learning rate", "case": "three", "verdict": "refused"},
    ],
    "mistakes": [
        {"what": "a print", "how": how, "raised": None, "when": None, "line": None, "printed": printed}
        for how, printed in (("eager", "rows: 4"), ("replay", ""))
    ],
}


def look(name: str) -> Finding:
    return next(claim for claim in (*CONSTRAINTS, DEBUGGING) if claim.name == name).look(Lab())


def test_what_no_graph_can_hold_is_told_from_what_one_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constraints, "tried", lambda: CASES)
    allocation, schedules = look("no-allocation"), look("no-schedules")
    assert allocation.verdict is Verdict.IN_PART
    assert allocation.measured == "a GPU: one captured, two frozen"
    assert allocation.because == "a graph holds one; frozen without an error: two"
    assert schedules.verdict is Verdict.HOLDS
    assert schedules.because == "a graph holds none of these"


def test_a_mistake_is_hidden_when_a_replay_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constraints, "tried", lambda: CASES)
    assert look("hidden-errors").verdict is Verdict.HOLDS
    assert look("hidden-errors").measured == "a GPU: a print: eager printed, in a replay nothing"
    raised = {"raised": "ValueError: 9 exceeds 8", "when": "launch", "line": "raise ...", "printed": ""}
    assert seen(raised) == "ValueError at launch, with its line"


def test_without_results_nothing_is_claimed_to_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constraints, "tried", dict)
    for claim in (*CONSTRAINTS[:-1], DEBUGGING):
        found = claim.look(Lab())
        assert (found.measured, found.verdict) == ("", Verdict.IN_PART)


def test_every_claim_is_about_cases_of_the_shipped_suite() -> None:
    rows = {case["row"] for case in tried()["cases"]}
    assert {"dynamic shapes", "dropout and random numbers", "learning rate", "activation checkpointing"} <= rows
    for claim in (*CONSTRAINTS[:-1], DEBUGGING):
        assert claim.look(Lab()).measured


def test_graphs_gain_a_small_models_training_step_and_hardly_a_large_ones() -> None:
    found = look("training-gains")
    assert found.verdict is Verdict.IN_PART
    assert found.numbers["small_gain"] > 2
    assert found.numbers["large_gain"] < 1.05
