"""From a workload to requests: literal rows of the two trace formats, and what a bad file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scenarios.errors import ScenarioError
from scenarios.scenario import Workload
from sim.effects import Source
from sim.serving.batch import Batch, Phase
from sim.studies.workload import build_source

HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def workload(**fields: Any) -> Workload:
    return Workload.model_validate({"context": 5, "output_tokens": 7, **fields})


def rows(source: Source) -> list[tuple[int, int, int]]:
    """All requests as (arrival, context, tokens)."""
    return [(r.arrival, r.context, r.max_tokens) for r in source.take(1 << 62)]


def trace(folder: Path, name: str, text: str) -> Workload:
    path = folder / name
    path.write_text(text)
    return workload(trace=str(path))


def test_a_closed_batch_is_there_at_the_start_with_its_context_computed() -> None:
    source = build_source(workload(batch=2))
    requests = source.take(0)
    assert [(r.id, r.arrival, r.context, r.max_tokens, r.computed) for r in requests] == [
        (0, 0, 5, 7, True), (1, 0, 5, 7, True),
    ]  # fmt: skip
    assert source.next_arrival() is None


def test_a_poisson_process_has_the_mean_interval_of_its_rate() -> None:
    found = rows(build_source(workload(rate="1000/s", requests=4_000), seed=3))
    assert len(found) == 4_000
    assert found[-1][0] / 4_000 == pytest.approx(1_000_000, rel=0.05)
    assert found == rows(build_source(workload(rate="1000/s", requests=4_000), seed=3))
    assert found != rows(build_source(workload(rate="1000/s", requests=4_000), seed=4))


def test_azure_rows_keep_their_seventh_digit_and_arrive_from_the_first_on(tmp_path: Path) -> None:
    text = HEAD + "2023-11-16 18:17:03.9799600,10,2\n2023-11-16 18:17:03.9799601,20,3\n2023-11-16 18:17:04,30,4\n"
    assert rows(build_source(trace(tmp_path, "a.csv", text))) == [(0, 10, 2), (100, 20, 3), (20_040_000, 30, 4)]


def test_stamps_with_a_zone_are_moved_to_one(tmp_path: Path) -> None:
    text = HEAD + "2023-11-16 18:17:03.5+00:00,10,2\n2023-11-16 19:17:03.7000001+01:00,20,3\n"
    assert rows(build_source(trace(tmp_path, "a.csv", text))) == [(0, 10, 2), (200_000_100, 20, 3)]


def test_mooncake_rows_are_milliseconds(tmp_path: Path) -> None:
    row = '{"timestamp": %s, "input_length": %s, "output_length": %s, "hash_ids": []}\n'
    text = row % (1_000, 10, 2) + row % (1_000.5, 20, 3)
    assert rows(build_source(trace(tmp_path, "a.jsonl", text))) == [(0, 10, 2), (500_000, 20, 3)]


def test_requests_cut_a_trace_short(tmp_path: Path) -> None:
    long = trace(tmp_path, "a.csv", HEAD + "2023-11-16 18:17:03,10,2\n" * 5)
    assert len(rows(build_source(long.model_copy(update={"requests": 2})))) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", HEAD, "holds no request"),
        (
            "a.csv",
            "TIMESTAMP,ContextTokens\n2023-11-16 18:17:03,10\n",
            "no column 'GeneratedTokens', expected TIMESTAMP",
        ),
        ("a.csv", HEAD + "2023-11-16 18:17:03,10\n", "row 1: no column 'GeneratedTokens'"),
        (
            "a.csv",
            HEAD + "2023-11-16 18:17:03,10,2\n2023-11-16 18:17:03,ten,2\n",
            "row 2: ContextTokens: found 'ten'",
        ),
        ("a.csv", HEAD + "yesterday,10,2\n", "row 1: TIMESTAMP: found 'yesterday', expected a time such as"),
        (
            "a.csv",
            HEAD + "2023-11-16 18:17:03.5,10,2\n2023-11-16 18:17:03.4,10,2\n",
            "row 2: found a stamp 0.1 s before the row above, expected rows in the order of their stamps",
        ),
        (
            "a.csv",
            HEAD + "2023-11-16 18:17:03,-3,2\n",
            "row 1: found -3 prompt and 2 output tokens, expected at least 1",
        ),
        ("a.csv", HEAD + "2023-11-16 18:17:03,0,2\n", "row 1: found 0 prompt and 2 output tokens, expected at least 1"),
        ("a.jsonl", "{]\n", "row 1: Expecting property name"),
        ("a.jsonl", "[1, 2, 3]\n", "row 1: found '[1, 2, 3]', expected an object with timestamp"),
        ("a.jsonl", '{"timestamp": 1, "input_length": 2}\n', "row 1: no column 'output_length'"),
        ("a.jsonl", '{"timestamp": 1e999, "input_length": 2, "output_length": 3}\n', "row 1: cannot convert float"),
        (
            "a.jsonl",
            '{"timestamp": 1, "input_length": [2], "output_length": 3}\n',
            "row 1: input_length: found [2]",
        ),
    ],
)
def test_a_trace_that_cannot_be_read_names_its_row(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        build_source(trace(tmp_path, name, text))
    assert f"{name}: {message}" in str(refused.value)
    assert len(refused.value.problems) == 1


def test_a_trace_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\xff\n\x81,\x82\n")
    with pytest.raises(ScenarioError, match="no column 'TIMESTAMP', 'ContextTokens', 'GeneratedTokens'"):
        build_source(workload(trace=str(tmp_path / "a.csv")))


def stops(source: Source, tokens: int) -> list[int | None]:
    """The token at which each request of a closed batch stops, None for those that end by length."""
    requests = source.take(0)
    found: dict[int, int] = {}
    for counter in range(1, tokens + 1):
        joined = requests if counter == 1 else ()
        batch = Batch(counter, Phase.DECODE, len(requests), 0, 0, requests, joined=joined, counter=counter)
        found |= dict.fromkeys(source.stopped(batch), counter)
    return [found.get(r.id) for r in requests]


def test_stop_share_says_how_many_stop_by_token() -> None:
    found = stops(build_source(workload(batch=2_000, stop_share=0.25), seed=1), 7)
    assert sum(stop is not None for stop in found) == pytest.approx(500, abs=60)
    assert {stop for stop in found if stop is not None} == {1, 2, 3, 4, 5, 6, 7}
    assert stops(build_source(workload(batch=50)), 7) == [None] * 50


def test_a_traced_answer_as_long_as_the_limit_ends_by_length_and_a_shorter_one_by_a_stop(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "".join(f'{{"timestamp": 0, "input_length": 5, "output_length": {n}}}\n' for n in (3, 7, 9))
    )
    one = build_source(workload(trace=str(tmp_path / "a.jsonl"), max_tokens=7, stop_share=1.0))
    assert [r.max_tokens for r in one.everything()] == [7, 7, 7]
    assert stops(one, 7) == [3, None, None]


def test_groups_share_no_piece_of_their_prompts() -> None:
    shared = {"groups": 3, "tokens": 1100}
    source = build_source(workload(batch=None, rate="1/s", requests=30, context=1200, shared_prefix=shared))
    assert sorted({r.hashes for r in source.everything()}) == [(0, 1), (2, 3), (4, 5)]


def test_foreseen_stops_become_length_limits_of_the_same_tokens() -> None:
    hidden = stops(build_source(workload(batch=50, stop_share=0.5), seed=1), 7)
    foreseen = build_source(workload(batch=50, stop_share=0.5), seed=1, foreseen_stops=True)
    assert [r.max_tokens for r in foreseen.take(0)] == [stop or 7 for stop in hidden]
