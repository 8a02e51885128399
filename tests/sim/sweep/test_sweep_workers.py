"""Sweeps on several processes: the same rows, none lost and none twice when a worker is killed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario
from sim.cli import main
from sim.studies.sweep.axes import Axis, Point, points_of
from sim.studies.sweep.evaluate import Question
from sim.studies.sweep.run import run_points
from sim.studies.sweep.store import Store, read_parquet
from sim.studies.sweep.workers import Cores, Dask, Ray, Workers

SCENARIO, SMALL = "decode-qwen3-0.6b", ("model=tiny", "workload.output_tokens=10")

pytest.importorskip("duckdb")


def question() -> Question:
    return Question(SCENARIO, SMALL, None, load_scenario(SCENARIO, SMALL).digest)


def grid(*texts: str) -> list[Point]:
    return points_of([Axis.parse(text) for text in texts], [0])


def test_workers_find_what_one_process_finds(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    asked, points = question(), grid("workload.batch=1..40")
    found = []
    for jobs in (1, 2):
        with Store(tmp_path / "a.parquet", resume=False) as store:
            run_points(asked, points, store, workers=Cores(jobs))
        found.append({point: row | {"seconds": None} for point, row in store.rows.items()})
    assert found[0] == found[1]
    assert len(found[0]) == 40


@pytest.mark.filterwarnings("ignore")
def test_a_process_that_dies_is_one_sentence() -> None:
    pytest.importorskip("joblib")
    with pytest.raises(ScenarioError, match=r"--jobs: workers died, out of memory perhaps: A worker process .*SIGKILL"):
        list(Cores(2).results(lambda _: os.kill(os.getpid(), signal.SIGKILL), [1, 2]))


def no_row_is_lost_or_doubled(workers: Workers, victim: Callable[[], int], path: Path) -> None:
    """One worker is killed after the second chunk."""
    asked, points = question(), grid("workload.batch=1..40", "host.scale=0.5,1,2")
    came: Counter[int] = Counter()

    def told(count: int) -> None:
        came["points"] += count
        came["calls"] += 1
        if came["calls"] == 2:
            os.kill(victim(), signal.SIGKILL)

    with Store(path, resume=False) as store:
        run_points(asked, points, store, workers=workers, told=told)
    assert set(store.rows) == {point.digest(asked.digest) for point in points}
    assert came["points"] == len(points) == 120
    assert len(read_parquet(path)) == 120


@pytest.mark.filterwarnings("ignore")  # a killed worker is reported in many ways
def test_a_dask_cluster_that_loses_a_worker_loses_no_point_and_doubles_none(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        with Dask(cluster.scheduler_address) as workers:
            assert workers.count == 2
            no_row_is_lost_or_doubled(workers, lambda: victim, tmp_path / "a.parquet")
        assert victim not in client.run(os.getpid).values()


@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_that_loses_a_worker_loses_no_point_and_doubles_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")

    def pid() -> int:
        return os.getpid()

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        victim = ray.get(ray.remote(pid).remote())
        with Ray() as workers:
            assert workers.count == 2
            no_row_is_lost_or_doubled(workers, lambda: victim, tmp_path / "a.parquet")
        with pytest.raises(ProcessLookupError):
            os.kill(victim, 0)
    finally:
        ray.shutdown()


def test_without_a_ray_cluster_a_sweep_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    assert main(["sweep", SCENARIO, "--vary", "workload.batch=1,2", "--ray"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("overlapsim: --ray: found no Ray cluster")
