"""``overlapsim validate`` from its command line, on made-up hardware and on a CPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeHardware

from gpu.validation import backend
from scenarios.suite import load_suite
from sim.cli import main
from sim.studies.validation.results_file import read_results
from sim.verbs.validate import _provenance

TIMERS = ["sleep-overlap", "--set", "workload.output_tokens=12"]
ON = ["--on", "emulated"]


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> FakeHardware:
    """Kernels take a tenth longer than predicted."""
    made = FakeHardware()
    monkeypatch.setattr(backend, "open_session", made.open)
    monkeypatch.setattr(backend, "_measure_host", made.measure_host)
    return made


def validate(*argv: str) -> int:
    return main(["validate", *argv])


def test_a_scenario_is_measured_beside_its_prediction(
    hardware: FakeHardware, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(*TIMERS, *ON) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Timers of 10 ms behind 6 ms of host work"
    assert lines[1].startswith("measured on emulated (")
    assert lines[3] == "sleep-overlap output_tokens=12"
    serial = lines[4].split()
    assert (serial[0], *serial[3:4], *serial[-4:]) == ("serial-eager", "-", "0.00", "us", "-5.9%", "-")
    assert round(float(serial[4]) - float(serial[1]), 2) == 1.0  # a tenth of 10 ms
    assert lines[5].split()[:1] + lines[5].split()[-3:] == ["overlap-eager", "1.60x", "1.55x", "helps"]
    assert lines[-1].startswith("worst: sleep-overlap output_tokens=12 ")
    assert lines[-1].endswith(": model.step")
    assert len(hardware.runs) == 12


def test_files_are_written_and_show_the_same_again(
    hardware: FakeHardware, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert validate(*TIMERS, *ON, "--out", str(out)) == 0
    first = capsys.readouterr().out.splitlines()
    assert first.pop() == f"wrote {out}/results.json, {out}/scatter.png, {out}/overlay.png"
    assert sorted(path.name for path in out.iterdir()) == ["overlay.png", "results.json", "scatter.png"]
    assert (out / "scatter.png").read_bytes().startswith(b"\x89PNG")
    ran = len(hardware.runs)
    assert validate(*TIMERS, "--from", f"{out}/results.json") == 0
    assert capsys.readouterr().out.splitlines() == first
    assert validate(*TIMERS, "--from", f"{out}/results.json", "--predict-again") == 0
    again = capsys.readouterr().out.splitlines()
    assert again[:-2] == first[:-2]  # the last two say where they part, which is only known while measuring
    assert len(hardware.runs) == ran
    assert validate("laptop", "--from", f"{out}/results.json") == 2
    assert capsys.readouterr().err.endswith("holds results of 'sleep-overlap', expected of 'laptop'\n")


def test_json_holds_everything_that_is_printed(hardware: FakeHardware, capsys: pytest.CaptureFixture[str]) -> None:
    assert hardware.runs == []
    assert validate(*TIMERS, *ON, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(found) == ["title", "provenance", "cases", "comparisons", "scores", "clients"]
    assert (
        found["provenance"]["command"]
        == "overlapsim validate sleep-overlap --set workload.output_tokens=12 --on emulated"
    )
    assert (found["provenance"]["repeats"], found["provenance"]["profile"]) == (5, "nvidia-h200")
    assert [len(case["measured_ns"]) for case in found["cases"]] == [5, 5]
    assert found["comparisons"][0]["measured"]["verdict"] == "helps"
    assert list(found["scores"]) == ["shipped", "always_helps", "sum_of_parts"]
    assert found["scores"]["shipped"]["verdicts"]["right"] == 1


def test_resuming_repeats_nothing_and_loses_nothing(hardware: FakeHardware, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    hardware.breaks_at = 40  # in the fourth configuration of the laptop's suite
    assert validate("laptop", *ON, "--out", str(out)) == 130
    kept = read_results(out / "results.json").cases
    assert (len(kept), len(hardware.runs)) == (6, 40)
    hardware.breaks_at = None
    assert validate("laptop", *ON, "--out", str(out), "--resume") == 0
    assert len(hardware.runs) == 40 + 12
    cases = read_results(out / "results.json").cases
    assert len(cases) == 8
    assert [c.model_copy(update={"parting": ""}) for c in cases[:6]] == list(kept)


def test_results_of_another_run_are_not_resumed(
    hardware: FakeHardware, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert validate(*TIMERS, *ON, "--out", str(out)) == 0
    before = (out / "results.json").read_bytes()
    capsys.readouterr()
    assert validate(*TIMERS, *ON, "--out", str(out), "--resume", "--repeats", "6") == 2
    assert capsys.readouterr().err == f"overlapsim: {out}/results.json: provenance.repeats: found 5, expected 6\n"
    assert (out / "results.json").read_bytes() == before
    assert len(hardware.runs) == 12


def test_the_exit_code_says_whether_a_limit_holds(hardware: FakeHardware, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(*TIMERS, *ON, "--max-error", "8%") == 0
    assert validate(*TIMERS, *ON, "--max-error", "7%") == 1
    # 16.008 beside 17.008 and 10.0 beside 11.0 ms
    assert capsys.readouterr().err == "overlapsim: eager modes: mean error 7.5% exceeds 7.0%\n"
    assert len(hardware.runs) == 24


BAD = {
    "unknown suite": (["h20", *ON], "h20: no such file, expected a shipped suite or scenario ('h200')"),
    "nothing shipped": (
        ["laptop"],
        "laptop: no results are shipped for it on 'nvidia-h200', expected --on cuda, cpu or emulated, or --from FILE",
    ),
    "another machine's": (
        ["training", "--set", "hardware.profile=nvidia-h200"],
        "training: no results are shipped for it on 'nvidia-h200', expected --set hardware.profile=nvidia-h100, --on",
    ),
    "no file": (["laptop", "--from", "none.json"], "none.json: no such file"),
    "both": (["laptop", *ON, "--from", "none.json"], "--from: no such option beside --on"),
    "few repeats": (["laptop", *ON, "--repeats", "4"], "--repeats: found 4, expected at least 5"),
    "resume of nothing": (["laptop", *ON, "--resume"], "--resume: expected --on and --out beside it"),
    "no share": (["laptop", *ON, "--max-error", "0.05"], "--max-error: found '0.05', expected a percentage"),
    "again": (["laptop", *ON, "--predict-again"], "--predict-again: no such option beside --on"),
    "a file": (["laptop", *ON, "--out", "taken"], "--out: taken is a file, expected a folder"),
    "override": (["laptop", *ON, "--set", "model.step=3"], "laptop.toml: entries[0]: --set: model.step: found 3"),
    "machine": (["laptop", "--on", "tpu"], "argument --on: invalid choice: 'tpu'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_measures_nothing(
    hardware: FakeHardware,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    argv, message = BAD[name]
    assert validate(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert hardware.runs == []
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_machine_without_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert validate("h200", "--on", "cuda") == 2
    assert "--on cuda: no NVIDIA GPU" in capsys.readouterr().err


def test_a_real_model_is_measured_on_a_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(backend, "_measure_host", lambda *_: {})
    tiny = ["model=tiny", "workload.batch=2", "workload.context=8", "workload.output_tokens=10"]
    sets = [word for text in tiny for word in ("--set", text)]
    assert validate("decode-qwen3-0.6b", *sets, "--on", "cpu", "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [len(case["measured_ns"]) for case in found["cases"]] == [5] * 4
    assert len(found["comparisons"]) == 4
    assert found["provenance"]["torch"]
    assert "predicted with profile nvidia-h200 of NVIDIA H200, measured on " in err


def test_who_measures_by_another_gpu_s_profile_is_told_and_shown_the_right_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = argparse.Namespace(on="cuda", set=[], suite="launch-chain", seed=0, repeats=5)
    for gpu in ("NVIDIA H100 80GB HBM3", "NVIDIA A100"):
        _provenance(asked, load_suite("launch-chain"), {"gpu": gpu, "cpu": "any"})
    h100, a100 = capsys.readouterr().err.splitlines()
    assert h100 == (
        "overlapsim: predicted with profile nvidia-h200 of NVIDIA H200, measured on NVIDIA H100 80GB HBM3;"
        " of this GPU there is --set hardware.profile=nvidia-h100"
    )
    assert a100.endswith("measured on NVIDIA A100")
