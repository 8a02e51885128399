"""Sweeps: rows that agree with single runs, resumed and checked, checked and drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.loader import load_scenario
from sim.cli import main
from sim.fast.device import Device
from sim.studies.sweep.axes import Axis, Point, points_of
from sim.studies.sweep.evaluate import Question, evaluate
from sim.studies.sweep.reproduce import write_scenario
from sim.studies.sweep.run import run_points, trust
from sim.studies.sweep.store import Store, read_parquet

SCENARIO = "decode-qwen3-0.6b"
SMALL = ("model=tiny", "workload.output_tokens=10")
GRID = ("--vary", "workload.batch=1..8*2", "--vary", "host.scale=0.5,1,2,4")
COMMAND = ["sweep", SCENARIO, *(word for text in SMALL for word in ("--set", text)), *GRID]

duckdb = pytest.importorskip("duckdb")


def question() -> Question:
    return Question(SCENARIO, SMALL, None, load_scenario(SCENARIO, SMALL).digest)


def grid(*texts: str) -> list[Point]:
    return points_of([Axis.parse(text) for text in texts], [0])


def test_rows_are_what_single_runs_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.parquet"
    assert main([*COMMAND, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "16 points, 0 of them known before, 0 that cannot be run; 16 checked"
    rows = read_parquet(out)
    assert len(rows) == len({row["point"] for row in rows}) == 16
    assert all(row["equal"] for row in rows)
    row = next(row for row in rows if (row["workload.batch"], row["host.scale"]) == (4, 2))
    sets = (*SMALL, "workload.batch=4", "host.scale=2")
    assert main(["run", SCENARIO, *(word for text in sets for word in ("--set", text)), "--json"]) == 0
    modes = json.loads(capsys.readouterr().out)["modes"]
    for mode, numbers in modes.items():
        assert row[f"{mode}.step_us"] == pytest.approx(numbers["step_us"], abs=1e-3)
        assert row[f"{mode}.speedup"] == pytest.approx(numbers["speedup"], rel=1e-3)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "a.png"]


def test_an_interrupted_sweep_resumes_and_a_repeated_one_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.parquet"
    asked, points = question(), grid("workload.batch=1..8*2", "host.scale=0.5,1,2,4")
    store = Store(out, resume=False)
    store.append(evaluate(asked, points[:5]))
    store.__exit__(KeyboardInterrupt, KeyboardInterrupt())
    assert not out.exists()
    log = tmp_path / "a.parquet.rows"
    with log.open("a") as file:
        file.write('{"point": "cut sh')  # killed while it wrote
    assert main([*COMMAND, "--out", str(out), "--resume"]) == 0
    assert "16 points, 5 of them known before" in capsys.readouterr().out
    monkeypatch.setattr("sim.studies.sweep.run.evaluate", lambda *_: pytest.fail("a known point was asked again"))
    assert main([*COMMAND, "--out", str(out), "--resume"]) == 0
    assert "16 points, 16 of them known before" in capsys.readouterr().out


def test_a_repeated_sweep_is_not_checked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, points = question(), grid("workload.batch=1..30")
    monkeypatch.setattr("sim.studies.sweep.run.LEAST_TRUST", 5)
    for _ in range(2):
        with Store(tmp_path / "a.parquet", resume=True) as store:
            run_points(asked, points, store)
            for row in store.rows.values():
                row["seconds"] = 0.0
            assert trust(asked, points, store, 0) is None
        assert sum(row["equal"] is not None for row in read_parquet(tmp_path / "a.parquet")) == 5


def test_a_point_that_cannot_be_run_is_a_row_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    assert main(["sweep", SCENARIO, "--set", "workload.output_tokens=4", "--vary", "workload.batch=2,1000000",
                 "--out", str(out)]) == 0  # fmt: skip
    errors = {row["workload.batch"]: row["error"] for row in read_parquet(out)}
    assert errors[2] is None
    assert "workload.batch: found 1000000, expected at most" in errors[1_000_000]


def test_one_unequal_point_fails_the_sweep_with_a_file_that_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Device.kernel
    monkeypatch.setattr(Device, "kernel", lambda self, stream, submit, ns: honest(self, stream, submit, ns + 1))
    out = tmp_path / "a.parquet"
    assert main([*COMMAND, "--out", str(out)]) == 1
    assert "the machines differ at" in capsys.readouterr().err
    file = str(tmp_path / "a.unequal.toml")
    steps = {}
    for machine in ("fast", "reference"):
        assert main(["run", file, "--machine", machine, "--json"]) == 0
        steps[machine] = json.loads(capsys.readouterr().out)["modes"]["serial-graph"]["step_us"]
    assert steps["fast"] != steps["reference"]


@pytest.mark.parametrize("name", [SCENARIO, "hundred-matmuls", "sleep-overlap", "two-streams"])
def test_a_written_scenario_loads_to_the_same(name: str, tmp_path: Path) -> None:
    loaded = load_scenario(name)
    write_scenario(tmp_path / "b.toml", loaded, "the same again")
    assert load_scenario(tmp_path / "b.toml").digest == loaded.digest


def test_a_point_simulated_by_itself_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = question()
    rows = evaluate(asked, grid("workload.batch=2", "host.scale=1,2,3,4"))
    assert [row["alone"] for row in rows] == [None] * 4
    rows = evaluate(asked, grid("workload.batch=2,3", "host.scale=1,2"))
    assert {row["alone"].partition(" that differ")[0] for row in rows} == {"fewer than 4 points"}
    rows = evaluate(asked, grid("workload.batch=2", "workload.stop_share=0.5", "host.scale=1,2,3,4"))
    assert {row["alone"] for row in rows} == {"outputs that end by a draw"}
    sets = ("model=tiny", "workload.requests=4")
    arriving = Question("open-qwen3-0.6b", sets, None, load_scenario("open-qwen3-0.6b", sets).digest)
    assert {row["alone"] for row in evaluate(arriving, grid("workload.rate=20/s,40/s"))} == {"requests that arrive"}
    out = str(tmp_path / "a.parquet")
    assert (
        main([*COMMAND[:6], "--set", "engine.modes=serial-eager,naive", "--vary", "host.scale=1,2,4,8", "--out", out])
        == 0
    )
    assert "simulated one by one, 4: waits after every operation" in capsys.readouterr().out


def test_the_points_of_a_group_that_cannot_be_run_leave_the_others_side_by_side() -> None:
    rows = evaluate(question(), grid("workload.context=10,20,30,99999999999"))
    assert [row["error"] is None for row in rows] == [True] * 3 + [False]
    assert [row["alone"] for row in rows[:3]] == [None] * 3


def test_tensors_say_what_numpy_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from gpu.columns import arrays_on

    points = grid("workload.batch=2,5", "workload.context=100,4000", "host.extra=0us,90us", "kernels.scale=0.5,2")
    numpy, torch = (evaluate(asked, points) for asked in (question(), replace(question(), arrays=arrays_on("cpu"))))
    assert [row | {"seconds": 0} for row in numpy] == [row | {"seconds": 0} for row in torch]
    assert [row["alone"] for row in torch] == [None] * 16
    words = ["--vary", "host.scale=1,2,4,8", "--device", "cpu", "--out", str(tmp_path / "a.parquet")]
    assert main([*COMMAND[:6], *words]) == 0
    assert "4 checked" in capsys.readouterr().out


def test_without_a_file_a_sweep_says_where_the_gain_is_least_and_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(COMMAND) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main([*COMMAND, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["points"], found["checked"], found["equal"], len(found["rows"])) == (16, 16, True, 16)
    gains = [row["overlap-graph.speedup"] for row in found["rows"]]
    ends = [found[end] for end in ("least", "most")]
    assert [row["overlap-graph.speedup"] for row in ends] == [min(gains), max(gains)]
    at = [f"{row['workload.batch']}, host.scale={row['host.scale']:g}" for row in ends]
    least, most = (f"{min(gains):.2f}x at workload.batch={at[0]}", f"{max(gains):.2f}x at workload.batch={at[1]}")
    assert lines[1] == f"overlap-graph over serial-eager: {least} to {most}"
    graphs = sum(row["serial-graph.speedup"] >= 1.01 for row in found["rows"])
    assert found["graphs_pays"] == graphs
    assert lines[2].startswith(f"graphs pay at {graphs} of 16 points")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "a.csv"], "expected a .parquet file in a folder that exists"),
        (["--out", "nowhere/a.parquet"], "expected a .parquet file in a folder that exists"),
        (["--out", "a.parquet", "--seeds", "0"], "--seeds: found 0, expected at least 1"),
        (["--vary", "workload.batch=3"], "--vary: workload.batch: found twice, expected all its values in one list"),
        (["--resume"], "--resume: there is no --out to go on with"),
        (["--dask", "tcp://127.0.0.1:1"], "--dask: found 'tcp://127.0.0.1:1', where no Dask scheduler answers"),
        (["--out", "a.parquet", "--jobs", "0"], "--jobs: found 0"),
        (["--jobs", "2", "--ray"], "argument --ray: not allowed with argument --jobs"),
        (["--out", "a.parquet", "--vary", "host.scale=fast"], "no point can be run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sim.studies.sweep.workers.PATIENCE", 1)
    assert main(["sweep", SCENARIO, *("--set", SMALL[0]), "--vary", "workload.batch=1,2", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
