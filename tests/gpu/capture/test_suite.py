"""The suite's processes, and what users see of mistakes without a GPU."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from gpu.capture.mistakes import MISTAKES, Seen, eagerly, replayed  # noqa: E402
from gpu.capture.shipped import SHIPPED  # noqa: E402
from gpu.capture.suite import CASES, try_cases  # noqa: E402
from sim.cli import main  # noqa: E402


def both(name: str) -> tuple[Seen, Seen]:
    mistake = next(mistake for mistake in MISTAKES if mistake.name == name)
    return eagerly(mistake, "cpu"), replayed(mistake, "cpu")


def test_a_case_runs_in_a_process_of_its_own() -> None:
    (row,) = try_cases("cpu", [case for case in CASES if case.name == "item"])
    assert (row["case"], row["exit_code"], row["verdict"], row["right_line"]) == ("item", 0, "refused", True)


def test_a_print_is_made_once_at_capture_and_never_in_a_replay(capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled():
        eager, replay = both("print")
    assert eager.printed == "rows: 4\n" * 3
    assert (replay.at_capture, replay.printed) == ("rows: 4\n", "")


def test_a_check_in_python_is_not_made_in_a_replay() -> None:
    eager, replay = both("exception")
    assert eager.raised == "ValueError: length 9 exceeds 8"
    assert replay.raised is None


def test_a_nan_passes_a_replay_without_a_word() -> None:
    eager, replay = both("nan")
    assert eager.raised == "ValueError: a logarithm of a negative number"
    assert (replay.raised, replay.result) == (None, "4 of 4 values not finite")


@pytest.mark.parametrize("name", ["index", "nan-on-device"])
def test_what_an_operation_itself_checks_a_replay_checks_too_but_in_no_line(name: str) -> None:
    eager, replay = both(name)
    assert eager.raised == replay.raised is not None
    assert eager.place is not None
    assert replay.place is None


def test_either_a_target_or_the_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture"]) == 2
    assert main(["capture", "m:f", "--suite"]) == 2
    assert capsys.readouterr().err.count("expected either MODULE:FUNCTION or --suite") == 2


def test_results_are_written_beside_a_run_of_the_suite_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "--suite", "--out", "x.json"]) == 2
    assert main(["capture", "--suite", "--on", "cpu", "--out", "no/such/folder/x.json"]) == 2
    told = capsys.readouterr().err
    assert "expected beside --suite and --on" in told
    assert "expected a file in a folder that exists" in told


@pytest.mark.skipif(not SHIPPED.is_file(), reason="no results yet")
def test_the_shipped_results_have_every_case_and_right_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "--suite", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [row["case"] for row in results["cases"]] == [case.name for case in CASES]
    assert {row["mistake"] for row in results["mistakes"]} == {mistake.name for mistake in MISTAKES}
    assert results["provenance"]["gpu"] == "NVIDIA H100 80GB HBM3"
    wrong = [row["case"] for row in results["cases"] if row["right_line"] is False]
    assert not wrong
    silent = [
        row["case"] for row in results["cases"] if row["verdict"] in ("refused", "frozen") and not row["findings"]
    ]
    assert not silent


def test_what_the_readme_says_of_captures_is_what_was_measured() -> None:
    verdicts = {row["case"]: row["verdict"] for row in json.loads(SHIPPED.read_text())["cases"]}
    captured = {
        "dropout",
        "empty-tensor",
        "clip",
        "checkpoint",
        "accumulate",
        "adam-capturable",
        "rate-as-tensor-fused",
    }
    refused = {"mask", "item", "branch-on-device", "cond", "pageable-copy", "adam", "rate-as-tensor"}
    frozen = {"number-on-host", "host-counter", "rate-as-number", "branch-on-host", "rebound", "side-stream-unforked"}
    for names, verdict in ((captured, "captured"), (refused, "refused"), (frozen, "frozen")):
        assert {name for name in names if verdicts[name] != verdict} == set()


def test_what_the_readme_says_of_mistakes_is_what_was_measured() -> None:
    rows = {(row["mistake"], row["how"]): row for row in json.loads(SHIPPED.read_text())["mistakes"]}
    for name in ("exception", "nan", "print"):
        assert rows[name, "replay"]["raised"] is None
        assert not rows[name, "replay"]["printed"]
    assert rows["nan", "replay"]["result"] == "4 of 4 values not finite"
    for how in ("eager", "replay"):
        assert (rows["index", how]["when"], rows["index", how]["line"]) == ("synchronize", None)
        assert "device-side assert" in rows["index", how]["raised"]
    assert "table[index]" in rows["index", "eager, blocking"]["line"]
    assert rows["index", "replay, blocking"]["line"] is None
