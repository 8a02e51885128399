"""A sweep of ten thousand points of a decode scenario: how many a second of CPU time, side by side and one by one."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import pytest
from conftest import Told
from pytest_benchmark.fixture import BenchmarkFixture

from scenarios.loader import load_scenario
from sim.studies.sweep.axes import Axis, points_of
from sim.studies.sweep.evaluate import Question, Row, evaluate
from sim.studies.sweep.run import BY_THE_WAY, run_points, trust
from sim.studies.sweep.store import Store

SCENARIO = "decode-qwen3-0.6b"
SCALES = ",".join(str(tenths / 10) for tenths in range(5, 105))
ALONE = 20


def alike(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in {*BY_THE_WAY, "equal", "reference_seconds"}}


def test_points_a_second(benchmark: BenchmarkFixture, tmp_path: Path, told: Told) -> None:
    pytest.importorskip("duckdb")
    question = Question(SCENARIO, (), None, load_scenario(SCENARIO).digest)
    points = points_of([Axis.parse("workload.batch=1..100"), Axis.parse(f"host.scale={SCALES}")], [0])
    with Store(tmp_path / "a.parquet", resume=False) as store:
        began = process_time()
        benchmark.pedantic(run_points, (question, points, store), rounds=1)  # type: ignore[no-untyped-call]
        evaluated = process_time() - began
        assert trust(question, points, store, 0) is None
        trusted = process_time() - began - evaluated
        checked = sum(row.get("equal") is not None for row in store.rows.values())
        began = process_time()
        for point in points[:: len(points) // ALONE]:
            (row,) = evaluate(question, [point])
            assert alike(row) == alike(store.rows[row["point"]])
        alone = (process_time() - began) / ALONE
    told(
        f"sweep of {len(points):,} points in four modes", f"{evaluated:.1f} s, {len(points) / evaluated:,.0f} points/s",
        f"{alone / evaluated * len(points):.0f} times one by one", "30 s on two cores, sample included",
    )  # fmt: skip
    told(f"its sample of {checked} points on the reference", f"{trusted:.1f} s")
