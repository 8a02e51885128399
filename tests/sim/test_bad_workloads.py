"""What a user reads whose trace, lengths or promises make no sense: one line for each mistake, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.cli import main

HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROW = "2023-11-16 18:17:0{},{},{}\n"
Capture = pytest.CaptureFixture[str]


def run(*overrides: str) -> int:
    sets = [word for text in ("model=tiny", *overrides) for word in ("--set", text)]
    return main(["run", "decode-qwen3-0.6b", *sets])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "TIMESTAMP,ContextTokens\n",
            ["no column 'GeneratedTokens', expected TIMESTAMP, ContextTokens, GeneratedTokens"],
        ),
        (
            HEAD + ROW.format(3, -5, 7) + ROW.format(4, 5, 0),
            [
                "row 1: found -5 prompt and 7 output tokens, expected at least 1 of each",
                "row 2: found 5 prompt and 0 output tokens, expected at least 1 of each",
            ],
        ),
        (
            HEAD + ROW.format(5, 5, 7) + ROW.format(3, 5, 7),
            ["row 2: found a stamp 2 s before the row above, expected rows in the order of their stamps"],
        ),
        (HEAD, ["holds no request"]),
    ],
)
def test_a_trace_that_makes_no_sense_names_every_row(
    tmp_path: Path, capsys: Capture, text: str, lines: list[str]
) -> None:
    trace = tmp_path / "bad.csv"
    trace.write_text(text)
    assert run(f"workload.trace={trace}") == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"overlapsim: {trace}: {line}" for line in lines]
    assert captured.out == ""


def test_a_request_longer_than_the_cache_is_named_with_what_the_cache_holds(tmp_path: Path, capsys: Capture) -> None:
    trace = tmp_path / "long.csv"
    trace.write_text(HEAD + ROW.format(3, 5, 7) + ROW.format(4, 999_999_999, 7))
    assert run(f"workload.trace={trace}") == 2
    err = capsys.readouterr().err
    assert err.startswith(f"overlapsim: {trace}: workload: request 1 needs 1000000007 tokens of KV cache, which holds ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("workload.trace=nowhere.csv", "workload.trace: found 'nowhere.csv', expected an existing .csv or .jsonl file"),
        ("workload.rate=-3/s", "workload.rate: found '-3/s', expected a frequency above zero with a unit"),
        ("workload.rate=5", "workload.rate: found 5, expected a frequency above zero with a unit"),
        ("limits.ttft=20", "limits.ttft: found 20, expected a duration with a unit, such as '4.2us'"),
        ("limits.itl=20ms", "limits.itl: unknown key"),
        ("replicas.router=random", "replicas.router: found 'random', expected 'round-robin' or 'least-loaded'"),
        ("replicas.count=0", "replicas.count: found 0, expected an integer of at least 1 and at most 256"),
        (
            "tensor_parallel.bandwidth=0GB/s",
            "tensor_parallel.bandwidth: found '0GB/s', expected a bandwidth",
        ),
    ],
)
def test_a_field_that_makes_no_sense_says_what_was_expected(capsys: Capture, override: str, message: str) -> None:
    assert run(override) == 2
    assert capsys.readouterr().err.startswith(f"overlapsim: --set: {message}")


def test_an_slo_that_nothing_can_meet_is_an_answer_and_no_error(capsys: Capture) -> None:
    sets = [word for text in ("model=tiny", "workload.rate=5/s", "workload.requests=5") for word in ("--set", text)]
    assert main(["capacity", "decode-qwen3-0.6b", *sets, "--slo", "ttft_p50<1us", "--modes", "overlap-graph"]) == 1
    captured = capsys.readouterr()
    assert "overlap-graph meets it at no rate: ttft_p50 " in captured.out
    assert "for a request that is served alone" in captured.out
    assert captured.err == ""


def test_a_breakdown_of_so_many_requests_is_refused(capsys: Capture) -> None:
    assert main(["breakdown", "azure-conversation"]) == 2
    told = "workload.requests: found 19366, expected at most 300 for a breakdown, which needs every span"
    assert capsys.readouterr().err == f"overlapsim: azure-conversation: {told}\n"
