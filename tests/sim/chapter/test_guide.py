"""The guide beside the shipped scenarios is what the command writes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from chapter_labs import labs

import scenarios
from sim.cli import main
from sim.studies.chapter.claim import Claim, Finding, Outcome, Verdict
from sim.studies.chapter.claims import CLAIMS
from sim.studies.chapter.guide import guide
from sim.studies.chapter.outcomes import outcomes_of
from sim.studies.chapter.pictures import PICTURES
from sim.verbs.chapter import printed

FOLDER = Path(scenarios.__file__).parent / "chapter"


def test_the_shipped_guide_is_what_is_generated() -> None:
    told = guide(outcomes_of(CLAIMS, labs()), cache(printed))
    assert (FOLDER / "README.md").read_text() == told, "overlapsim chapter --write scenarios/chapter > /dev/null"


def test_every_picture_of_the_guide_is_there_and_belongs_to_a_claim() -> None:
    named = set(re.findall(r"\]\((\S+\.png)\)", (FOLDER / "README.md").read_text()))
    assert named == {f"{name}.png" for name in PICTURES} == {path.name for path in FOLDER.glob("*.png")}
    assert set(PICTURES) <= {claim.name for claim in CLAIMS}


def test_a_claim_without_a_measurement_says_so() -> None:
    claim = Claim("one", "First", "Something is so", "overlapsim list", lambda _: finding)
    finding = Finding("1 ms", Verdict.HOLDS, "it is")
    page = guide([Outcome(claim, finding)], lambda command: f"({command})\n")
    assert "## First\n" in page
    assert "```console\n$ overlapsim list\n(overlapsim list)\n```" in page
    assert "*Predicted*: 1 ms.\n" in page
    assert "*Not measured.*\n" in page
    assert "*Verdict*: **holds**: it is.\n" in page
    assert "1 claim: 1 holds, 0 in part, 0 not." in page


def test_the_guide_is_written_into_a_folder_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chapter", "sleeping-batches", "--write", str(tmp_path / "none")]) == 2
    assert "expected a folder that exists" in capsys.readouterr().err
