"""A sweep of ten thousand points of a decode scenario: how many a second of CPU time, side by side and one by one."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scenarios.loader import load_scenario
from sim.studies.sweep.axes import Axis, points_of
from sim.studies.sweep.evaluate import Question, Row, evaluate
from sim.studies.sweep.run import run_points, trust
from sim.studies.sweep.store import Store

SCENARIO = "decode-qwen3-0.6b"
SCALES = ",".join(str(tenths / 10) for tenths in range(5, 105))
ALONE = 20


def alike(row: Row) -> Row:
    return row | {"seconds": None, "equal": None}


def test_points_a_second(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    question = Question(SCENARIO, (), None, load_scenario(SCENARIO).digest)
    points = points_of([Axis.parse("workload.batch=1..100"), Axis.parse(f"host.scale={SCALES}")], [0])
    with Store(tmp_path / "a.parquet", resume=False) as store:
        began = process_time()
        benchmark.pedantic(run_points, (question, points, store), rounds=1)  # type: ignore[no-untyped-call]
        evaluated = process_time() - began
        assert trust(question, points, store, 0) is None
        trusted = process_time() - began - evaluated
        began = process_time()
        for point in points[:: len(points) // ALONE]:
            (row,) = evaluate(question, [point])
            assert alike(row) == alike(store.rows[row["point"]])
        alone = (process_time() - began) / ALONE
    print(  # noqa: T201
        f"\n{len(points):,} points of four modes in {evaluated:.1f} s of CPU time, {evaluated / len(points) * 1e3:.2f} "
        f"ms a point, {alone / evaluated * len(points):.1f} times as fast as one by one; "
        f"{trusted:.1f} s for the sample on the reference"
    )
