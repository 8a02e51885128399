"""``overlapsim check``: a sentence, a scenario that runs, a picture, and exit codes that mean something."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from scenarios.loader import load_scenario
from sim.check.world import Asked, World
from sim.cli import main
from sim.studies.serving import ServingRun

FLAWED = Path(__file__).with_name("flawed.py")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of flawed policies, which is where we are."""
    shutil.copy(FLAWED, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # of another test's folder
    return tmp_path


def test_a_flawed_policy_is_shown_by_a_sentence_a_scenario_and_a_picture(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "mine:newest_first"]) == 1
    printed = capsys.readouterr().out
    assert "no-starvation: request 0 still waits, though it fits and [1, 2, 3, 4] came later and went" in printed
    assert "wrote broken.toml, broken.csv, broken.png" in printed
    assert (here / "broken.png").read_bytes().startswith(b"\x89PNG")
    assert main(["check", "mine:newest_first", "--scenario", "broken.toml"]) == 1
    assert "no-starvation" in capsys.readouterr().out
    assert main(["check", "prefill-first", "--scenario", "broken.toml"]) == 0
    assert main(["run", "broken.toml"]) == 0


def test_scripts_get_one_object(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "mine:Picky", "--json", "--out", "picky.toml"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["held"], found["policy"], found["machine"]) == (False, "mine:Picky", "reference")
    assert [v["invariant"] for v in found["violations"]] == ["progress"]
    assert found["requests"] == [{"arrival_us": 0, "prompt": 1, "tokens": 1}]
    assert [here / name for name in found["files"]] == [here / f"picky.{kind}" for kind in ("toml", "csv", "png")]


def test_what_holds_exits_with_0_and_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "decode-first", "--examples", "20", "--machine", "fast"]) == 0
    assert capsys.readouterr().out == "decode-first: every invariant held in 20 worlds, on the fast machine\n"
    assert [path.name for path in here.iterdir() if path.suffix != ".py" and path.is_file()] == []


def test_the_scenario_is_the_world(tmp_path: Path) -> None:
    world = World(
        (Asked(100, 20, 4), Asked(0, 3, 2), Asked(100, 5, 8)), "overlap-eager", 8,
        {"max_batch": 2, "kv_blocks": 5, "buckets": [1, 2]}, 50, 10, 30,
    )  # fmt: skip
    world.write(tmp_path / "world.toml", "a world\nof three requests")
    loaded = ServingRun.of(load_scenario(tmp_path / "world.toml"))
    run = world.serving()
    assert loaded.requests().take(10**9) == world.source().take(10**9)
    assert loaded.timeline("overlap-eager").table.tolist() == _served(run, world)


def _served(run: ServingRun, world: World) -> list[list[int]]:
    from sim.machine.machine import Machine

    machine = Machine(run.costs(), run.lowering())
    timeline = machine.run(run.threads(world.mode, run.server(world.mode)), world.source())
    rows: list[list[int]] = timeline.table.tolist()
    return rows


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "check: no policy"),
        (["--template", "nowhere/mine.py"], "--template: found 'nowhere/mine.py', expected a .py file in a folder"),
        (["mine:Nobody"], "engine.policy: found 'mine:Nobody'"),
        (["decode-frist"], "the name of one that is built in ('decode-first')"),
        (["prefill-first", "--property", "no-starvaton"], "--property: found 'no-starvaton'"),
        (["prefill-first", "--examples", "0"], "--examples: found 0, expected at least 1"),
        (["prefill-first", "--patience", "some"], "--patience: found 'some'"),
        (["prefill-first", "--out", "x.json"], "--out: found 'x.json', expected a .toml file"),
        (["prefill-first", "--scenario", "launch-chain"], "launch-chain: kind: found 'program'"),
    ],
)
@pytest.mark.usefixtures("here")
def test_bad_input_is_one_line_and_exit_code_2(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == 2
    assert told in capsys.readouterr().err


def test_the_template_is_a_policy_that_holds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--template", "template_of_mine.py"]) == 0
    assert main(["check", "template_of_mine:MyPolicy", "--examples", "60"]) == 0
    assert "every invariant held" in capsys.readouterr().out
    assert main(["check", "--template", "template_of_mine.py"]) == 2
    assert "there is such a file" in capsys.readouterr().err
    assert (here / "template_of_mine.py").read_text().startswith('"""A scheduling policy')


def test_every_invariant_is_listed_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2 * 30
    assert lines[1].startswith("    since ")


def test_what_hypothesis_stores_goes_with_the_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYPOTHESIS_STORAGE_DIRECTORY", raising=False)
    seen: list[Path] = []

    def attack(*_: object, **__: object) -> None:
        seen.append(Path(os.environ["HYPOTHESIS_STORAGE_DIRECTORY"]))
        assert seen[0].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.check.report.attack", attack)
    assert main(["check", "prefill-first"]) == 130
    assert not seen[0].exists()
    assert "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ
