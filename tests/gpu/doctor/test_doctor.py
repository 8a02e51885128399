"""The verb: on a CPU, where only the host is looked at, and where it has nothing to look at."""

from __future__ import annotations

import importlib.util
import json

import pytest

from gpu.doctor.host import WAITS, gil_waits, host_lines
from gpu.own_profile import own_profile
from scenarios.loader import load_profile
from sim.cli import main


def test_on_a_cpu_the_host_s_lines_are_told_and_the_exit_code_says_whether_its_pace_holds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["doctor", "--on", "cpu", "--json"])
    found = json.loads(capsys.readouterr().out)
    lines = {line["what"]: line for line in found["lines"]}
    assert list(lines) == ["CPU", "Python", "drift of a Python loop", "wait for the GIL beside pure Python"]
    assert lines["drift of a Python loop"]["found"] >= 0
    assert (found["device_bound"], found["profile"]) == (None, "nvidia-h200")
    assert code == (0 if found["trustworthy"] else 1)
    assert found["trustworthy"] == (lines["drift of a Python loop"]["found"] <= 0.25)


def test_the_table_ends_with_what_may_be_trusted_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--on", "cpu"])
    text = capsys.readouterr().out
    assert "the host's pace" in text
    assert "Trusted up to 25% and 10%" in text


def test_a_gpu_is_held_against_its_own_profile() -> None:
    assert own_profile("NVIDIA H100 80GB HBM3") == "nvidia-h100"
    assert own_profile("NVIDIA H200") == "nvidia-h200"
    assert own_profile("NVIDIA GeForce RTX 4090") is own_profile(None) is None


def test_a_python_loop_decides_only_where_no_calls_were_timed() -> None:
    profile = load_profile("nvidia-h100")
    parts = [
        next(line.part for line in host_lines(profile, lambda _: None, alone=alone) if line.what.startswith("drift"))
        for alone in (True, False)
    ]
    assert parts == ["spread", "told"]


def test_every_wait_for_the_gil_is_measured() -> None:
    assert len(gil_waits()) == WAITS
    assert min(gil_waits()) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "cpu", "--profile", "nvidia-h2000"], "nvidia-h2000: no such file, expected a shipped profile"),
        (["--on", "tpu"], "invalid choice: 'tpu'"),
        ([], "required: --on"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


def test_without_torch_there_is_no_gpu_to_look_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("gpu.availability.find_spec", lambda name: None if name == "torch" else found(name))
    assert main(["doctor", "--on", "cuda"]) == 2
    assert "--on cuda: torch is not installed; it comes with the extra" in capsys.readouterr().err


def test_without_a_gpu_there_is_nothing_to_look_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["doctor", "--on", "cuda"]) == 2
    assert "--on cuda: no NVIDIA GPU" in capsys.readouterr().err


@pytest.mark.cuda
def test_on_a_gpu_every_part_of_the_machine_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    assert main(["doctor", "--on", "cuda", "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    parts = {line["part"] for line in found["lines"]}
    assert parts == {"host", "device", "spread", "must", "told"}
    assert {"queue depth", "copy d2d", "drift of host calls", "GPU"} <= {line["what"] for line in found["lines"]}
