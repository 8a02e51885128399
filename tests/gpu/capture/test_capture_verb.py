"""``overlapsim capture`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from sim.cli import main  # noqa: E402

MODULE = """\
import torch

calls = {"number": 0}
double = torch.nn.Linear(8, 2)


def inputs(seed, device):
    return (torch.full((4, 8), 1.0 + seed, device=device),)


def good(x):
    return x * 2


def counting(x):
    calls["number"] += 1
    return x * calls["number"]


def reading(x):
    return x / x.max().item()


def broken(x):
    return x @ x


def make(device):
    weights = torch.ones(8, device=device)
    return lambda x: x * weights


def other(seed, device):
    return (torch.ones(3 + seed),)
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "captured_by_a_test.py"
    path.write_text(MODULE)
    return str(path)


def test_a_function_that_replays_well(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", f"{module}:good"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "good shows nothing against a capture: 1 operation, recorded and replayed with other inputs, gave" in said
    assert "--on cuda tries it" in said


def test_a_frozen_counter_names_its_line_and_says_what_to_do(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", f"{module}:counting"]) == 1
    said = capsys.readouterr().out
    assert "captured_by_a_test.py:17: frozen: aten.mul.Tensor was given 3, at the next call 4" in said.replace("\n", "")
    assert 'return x * calls["number"]' in said
    assert "keep it in a device tensor" in said


def test_a_host_read_is_refused_as_json(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", f"{module}:reading", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["tried"], told["replays_equal"]) == ("refused", False, None)
    assert [(f["rule"], f["line"], f["text"]) for f in told["findings"]] == [
        ("host-read", 21, "return x / x.max().item()")
    ]


def test_a_function_that_raises_is_told_from_one_that_cannot_be_captured(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["capture", f"{module}:broken", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["findings"][0]["line"]) == ("raises", 25)
    assert "RuntimeError" in told["error"]


def test_a_built_function_a_module_and_drawn_inputs(module: str) -> None:
    assert main(["capture", f"{module}:make", "--build"]) == 0
    assert main(["capture", f"{module}:double", "--input", "float32[4,8]"]) == 0
    assert main(["capture", f"{module}:good", "--input", "int64[8]<32000"]) == 0


def test_inputs_of_other_shapes_freeze(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", f"{module}:good", "--inputs", "other"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "no line (inputs come from outside of the function): frozen: input 0 is float32[3]" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{}:goud"], "found nothing of that name, expected a function or module; did you mean 'good'?"),
        (["{}:calls"], "found a dict, expected a function or module"),
        (["{}"], "expected MODULE:FUNCTION"),
        (["no_such_module:f"], "cannot be imported: ModuleNotFoundError"),
        (["missing.py:f"], "no such file"),
        (["{}:good", "--input", "float3[2]"], "found 'float3[2]', expected a type and sizes"),
        (["{}:good", "--input", "int64[2]"], "found 'int64[2]', expected a type and sizes"),
        (["{}:good", "--input", "float32[2]<3"], "found 'float32[2]<3', expected a type and sizes"),
        (["{}:good", "--inputs", "input"], "did you mean 'inputs'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    module: str, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert main(["capture", *(word.format(module) for word in words)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert expected in said[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_tried(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", f"{module}:good", "--on", "cuda"]) == 2
    assert "--on cuda: no NVIDIA GPU" in capsys.readouterr().err
