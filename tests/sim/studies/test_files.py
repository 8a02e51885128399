"""The files of a run: the same bytes for the same seed, and all of them or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from serving_worlds import tiny, tiny_open

from scenarios.loader import LoadedScenario, load_scenario
from sim.studies import files
from sim.studies.files import write_files
from sim.studies.results import run_all

NAMES = ["summary.json", "timeline.json", "timeline.png"]
MODES = "engine.modes=serial-eager,overlap-graph"


def written(folder: Path, loaded: LoadedScenario, seed: int = 0) -> dict[str, bytes]:
    paths = write_files(folder, run_all(loaded, seed))
    assert [path.name for path in paths] == NAMES == sorted(path.name for path in folder.iterdir())
    return {path.name: path.read_bytes() for path in paths}


def chain(*overrides: str) -> LoadedScenario:
    return load_scenario("launch-chain", ["count=3", *overrides])


@pytest.mark.parametrize("jitter", ["false", "true"])
@pytest.mark.parametrize(
    "load", [lambda j: tiny(MODES, j, "workload.stop_share=0.5"), chain], ids=["serving", "program"]
)
def test_a_seed_decides_every_byte(tmp_path: Path, load: Callable[[str], LoadedScenario], jitter: str) -> None:
    first, second = (written(tmp_path / name, load(f"host.jitter={jitter}"), seed=7) for name in "ab")
    assert first == second


@pytest.mark.parametrize("load", [lambda: tiny(MODES, "host.jitter=true"), lambda: chain("host.jitter=true")])
def test_another_seed_gives_another_run(tmp_path: Path, load: Callable[[], LoadedScenario]) -> None:
    first, second = (written(tmp_path / str(seed), load(), seed) for seed in (1, 2))
    assert all(first[name] != second[name] for name in NAMES)


def test_without_anything_random_the_seed_is_only_named(tmp_path: Path) -> None:
    first, second = (written(tmp_path / str(seed), tiny(MODES), seed) for seed in (1, 2))
    assert first["timeline.json"] == second["timeline.json"]
    summaries: list[dict[str, Any]] = [json.loads(run["summary.json"]) for run in (first, second)]
    assert [summary.pop("seed") for summary in summaries] == [1, 2]
    assert summaries[0] == summaries[1]


def test_the_summary_is_what_scripts_get_and_the_trace_names_its_scenario(tmp_path: Path) -> None:
    loaded = chain()
    found = written(tmp_path / "new" / "folder", loaded)
    assert json.loads(found["summary.json"]) == run_all(loaded).as_json()
    about = {"scenario": "launch-chain", "digest": loaded.digest, "profile": "nvidia-h200"}
    assert json.loads(found["timeline.json"])["otherData"] == about
    assert found["timeline.png"].startswith(b"\x89PNG")


def test_an_open_loop_has_its_requests_and_its_load_too(tmp_path: Path) -> None:
    results = run_all(tiny_open(MODES))
    paths = write_files(tmp_path, results)
    assert sorted(path.name for path in paths) == sorted([*NAMES, "load.png", "requests.csv"])
    lines = (tmp_path / "requests.csv").read_text().splitlines()
    assert lines[0] == "mode,server,request,arrival_ns,scheduled_ns,first_ns,last_ns,context,tokens,reason"
    served = results.timelines["serial-eager"].served[0]
    first = (served.request, served.arrival, served.scheduled, served.first, served.last, 20, 6, "length")
    assert lines[1] == ",".join(map(str, ("serial-eager", 0, *first)))
    assert len(lines) == 1 + 2 * 8
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_a_long_timeline_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SPANS_TRACED", 50)
    write_files(tmp_path, run_all(tiny(MODES)))
    trace = json.loads((tmp_path / "timeline.json").read_text())
    assert trace["otherData"]["cut"] == "after 50 spans of each mode: a viewer takes no more"
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert 100 <= len(spans) < 120


def disk_full(*_: object) -> NoReturn:
    raise OSError(28, "No space left on device")


def test_a_failure_half_way_leaves_no_file_and_no_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run_all(chain())
    monkeypatch.setattr(files, "draw_program", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_files(tmp_path / "new" / "folder", results)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_files_of_an_earlier_run_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(tmp_path, chain())
    monkeypatch.setattr(files, "draw_program", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_files(tmp_path, run_all(chain("n=128")))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
