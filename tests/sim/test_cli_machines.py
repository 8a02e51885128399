"""Which virtual machine a run takes, and how it says so."""

from __future__ import annotations

import json

import pytest

from sim.cli import main


def test_the_machine_can_be_chosen_and_says_which_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = {}
    for machine in ("auto", "reference", "fast"):
        assert main(["run", "launch-chain", "--machine", machine, "--json"]) == 0
        numbers[machine] = json.loads(capsys.readouterr().out)
    assert {m["name"] for m in numbers["auto"]["machine"].values()} == {"fast"}
    assert {m["name"] for m in numbers["reference"]["machine"].values()} == {"reference"}
    assert numbers["auto"]["modes"] == numbers["reference"]["modes"] == numbers["fast"]["modes"]


def test_auto_says_why_it_takes_the_reference_and_fast_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "two-streams", "--json"]) == 0
    machines = json.loads(capsys.readouterr().out)["machine"]
    assert machines["graph"] == {"name": "reference", "refusal": "graphs with branches"}
    assert main(["run", "two-streams"]) == 0
    assert "the reference machine (graphs with branches): graph" in capsys.readouterr().out
    assert main(["run", "two-streams", "--machine", "fast"]) == 2
    assert "this run has graphs with branches" in capsys.readouterr().err
