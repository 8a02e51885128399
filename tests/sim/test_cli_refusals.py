"""What the command line says to bad input: one clear message, exit code 2, and nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scenarios.shelf import PROFILES
from sim.cli import VERBS, main


def sets(*overrides: str) -> list[str]:
    return [word for text in overrides for word in ("--set", text)]


TINY = ["decode-qwen3-0.6b", *sets("model=tiny", "engine.modes=serial-eager")]
BAD_RUNS = {
    "no such scenario": (["nope"], "nope: no such file, expected a shipped scenario"),
    "no such file": (["nope.toml"], "nope.toml: no such file"),
    "a folder": (["."], ".: a folder, expected a file"),
    "syntax": (["syntax.toml"], "syntax.toml: line 2: no valid TOML"),
    "unknown model": ([*TINY, *sets("model=gpt-7")], "--set: model: found 'gpt-7', expected a shipped model"),
    "negative duration": ([*TINY, *sets("host.extra=-2ms")], "--set: host.extra: found '-2ms'"),
    "no unit": ([*TINY, *sets("host.extra=2")], "--set: host.extra: found 2, expected a duration with a unit"),
    "no bucket": ([*TINY, *sets("engine.buckets=[]")], "--set: engine.buckets: found []"),
    "unsorted buckets": (
        [*TINY, *sets("engine.buckets=[4, 2]")],
        "--set: engine.buckets: found [4, 2], expected a strictly increasing list",
    ),
    "batch 0": ([*TINY, *sets("workload.batch=0")], "--set: workload.batch: found 0, expected"),
    "unknown key": ([*TINY, *sets("workload.bach=1")], "workload.bach: unknown key; did you mean"),
    "no value": ([*TINY, *sets("workload.batch")], "--set: found 'workload.batch', expected key=value"),
    "incomplete profile": (
        [*TINY, *sets("hardware.profile=mine.toml")],
        "mine.toml: constants.launch_call: missing",
    ),
    "no config": (["decode-qwen3-0.6b", "--model", "no.json"], "no.json: no such file"),
    "two models": ([*TINY, "--model", "no.json"], "--model: no such option beside '--set model=...'"),
    "unknown mode": ([*TINY, "--expect", "overlap-grap.speedup>1"], "did you mean 'serial-eager'?"),
    "too large": ([*TINY, *sets("workload.context=99999999")], "workload.batch: found 16, expected at most 5"),
    "bad trace": ([*TINY, *sets("workload.trace=bad.jsonl")], "bad.jsonl: row 1: "),
    "unjoined capture": (["unjoined.toml"], "graph 'graph': stream 'main' does not wait for all work of the others"),
    "seed": (["launch-chain", "--seed", "x"], "run: argument --seed: invalid int value: 'x' (see 'overlapsim run "),
    "no scenario": ([], "run: the following arguments are required: scenario"),
}  # fmt: skip
UNJOINED = """
kind = "program"
title = "A stream that is never joined"
[[threads]]
ops = [{ op = "graph", ops = [
  { op = "record", event = "e" },
  { op = "wait_event", event = "e", stream = "side" },
  { op = "sleep", duration = "1us", stream = "side" },
] }]
"""


@pytest.fixture
def bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files that are wrong, each in one way."""
    (tmp_path / "syntax.toml").write_text('kind = "serving"\ntitle = \n')
    (tmp_path / "bad.jsonl").write_text("{\n")
    (tmp_path / "unjoined.toml").write_text(UNJOINED)
    profile = (PROFILES.folder / "nvidia-h200.toml").read_text()
    (tmp_path / "mine.toml").write_text(re.sub(r"\[constants\.launch_call\]\n(.+\n)+", "", profile))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BAD_RUNS)
def test_bad_input_gives_one_message_and_writes_nothing(
    bad_files: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    argv, message = BAD_RUNS[name]
    before = sorted(bad_files.iterdir())
    assert main(["run", *argv, "--out", "runs/mine"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("overlapsim")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(bad_files.iterdir()) == before


def test_all_problems_of_a_scenario_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *TINY, *sets("workload.batch=0", "host.extra=2", "engine.batching=none")]) == 2
    assert [line.split(": ")[:3] for line in capsys.readouterr().err.splitlines()] == [
        ["overlapsim", "--set", "workload.batch"],
        ["overlapsim", "--set", "engine.batching"],
        ["overlapsim", "--set", "host.extra"],
    ]


@pytest.mark.parametrize(
    ("verb", "hint"),
    [("rn", "did you mean 'run'?"), ("simulate", f"expected one of {', '.join(VERBS)}")],
)
def test_an_unknown_verb(capsys: pytest.CaptureFixture[str], verb: str, hint: str) -> None:
    assert main([verb]) == 2
    assert capsys.readouterr() == ("", f"overlapsim: no verb {verb!r}, {hint}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "x", "--sett", "a=b"], "overlapsim run: unrecognized arguments: --sett a=b; did you mean '--set'? "),
        (["run", "x", "--zzz"], "overlapsim run: unrecognized arguments: --zzz (see 'overlapsim run --help')"),
        (["from", "vllm", "serve"], "overlapsim from: unrecognized arguments: serve; quote what belongs together "),
        (["--json", "list"], "overlapsim list: unrecognized arguments: --json; a verb's options stand behind it "),
        (["--zzz"], "overlapsim: unrecognized arguments: --zzz (see 'overlapsim --help')"),
    ],
)
def test_an_unknown_option(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err[: len(told)]) == ("", told)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["from", "vllm serve Qwen/Qwen3-0.6B"], "a .toml file"),
        (["breakdown", "launch-chain"], "a .png file"),
        (["sweep", "launch-chain", "--vary", "count=1,2"], "a .parquet file"),
        (["check", "prefill-first"], "a .toml file"),
        (["calibrate", "--on", "cuda"], "a .toml file"),
        (["capture", "--suite", "--on", "cpu"], "a file"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], kind: str
) -> None:
    suffix = kind.split()[1].removesuffix("file")
    (tmp_path / f"taken{suffix}").mkdir()
    for out in (tmp_path / f"nowhere/a{suffix}", tmp_path / f"taken{suffix}"):
        assert main([*words, "--out", str(out)]) == 2
        told = f"overlapsim: --out: found {str(out)!r}, expected {kind} in a folder that exists"
        assert told in capsys.readouterr().err.splitlines()


def test_the_working_directory_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "launch-chain", "--out", "."]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["summary.json", "timeline.json", "timeline.png"]


@pytest.mark.parametrize("out", ["file", "file/below", "taken"])
def test_a_folder_that_cannot_be_written_is_refused_and_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken" / "timeline.png").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert main(["run", "launch-chain", "--out", str(tmp_path / out)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("overlapsim: ")
    assert str(tmp_path / out.partition("/")[0]) in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
