"""``overlapsim run --on``: the table and the files of a measurement, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gpu.availability
import gpu.measure
from sim.cli import main


def sets(*overrides: str) -> list[str]:
    return [word for text in overrides for word in ("--set", text)]


SLEEP = ["run", "sleep-overlap", *sets("workload.output_tokens=3", "model.step=1ms")]
TINY = ["run", "decode-qwen3-0.6b", *sets("model=tiny", "workload.batch=3", "workload.output_tokens=3")]
CHAIN = ["run", "launch-chain", *sets("n=8", "count=3")]
Capture = pytest.CaptureFixture[str]


def test_the_table_of_an_emulated_run(capsys: Capture) -> None:
    assert main([*SLEEP, "--on", "emulated"]) == 0
    out, err = capsys.readouterr()
    title, where, changes, header, serial, overlap, note = out.splitlines()
    assert title == "Timers of 10 ms behind 6 ms of host work"
    measured = r"measured on an emulated nvidia-h200 on .+, \d{4}-\d\d-\d\d, model timer, median of 5 runs"
    assert re.fullmatch(measured, where)
    assert changes == "with workload.output_tokens=3, model.step=1ms"
    assert re.split(r"  +", header)[:3] == ["mode", "step", "noise"]
    assert re.fullmatch(r"serial-eager +[\d.]+ ms +[\d.]+ [um]s +[\d,]+ +[\d.]+% +[\d.]+ [um]s +1\.00x", serial)
    assert overlap.startswith("overlap-eager")
    assert re.match(r"sleep error: 30 kernels of 1\.00 ms in the median ended [\d.]+ [um]s late in the median", note)
    assert err == ""


def test_an_emulated_run_needs_no_torch() -> None:
    argv = [*SLEEP, "--on", "emulated"]
    code = f"import sys; sys.modules['torch'] = None; from sim.cli import main; sys.exit(main({argv}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")


def test_the_json_and_the_files_of_a_measured_program(tmp_path: Path, capsys: Capture) -> None:
    assert main([*CHAIN, "--on", "emulated", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "summary.json").read_text())
    assert (found["measured"]["on"], found["measured"]["torch"], found["measured"]["repeats"]) == ("emulated", None, 5)
    assert "why" not in found
    for numbers in found["modes"].values():
        assert len(numbers["repeats_us"]) == 5
        assert sorted(numbers["repeats_us"])[2] == numbers["total_us"]
    assert [(n["launches"], n["kernels"]) for n in found["modes"].values()] == [(3, 3), (1, 3)]
    assert {path.name for path in tmp_path.iterdir()} == {"summary.json", "timeline.json", "timeline.png"}
    events = json.loads((tmp_path / "timeline.json").read_text())["traceEvents"]
    assert sum(event.get("cat") == "kernel" for event in events) == 6


def test_a_serving_run_on_a_cpu_has_device_columns_and_says_that_tokens_agree(capsys: Capture) -> None:
    pytest.importorskip("torch")
    assert main([*TINY, *sets("engine.modes=serial-eager,overlap-graph"), "--on", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ", torch " in lines[1]
    assert all(re.search(r" \d+\.\d% ", line) for line in lines[4:6])
    assert lines[6].startswith("a cpu has no graphs: ")
    assert lines[7] == "tokens: 3 requests agree in all modes"


def test_tokens_that_differ_make_the_answer_no(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    rows = iter([{0: [1, 2]}, {0: [1, 3]}] * 5)
    monkeypatch.setattr(gpu.measure, "received", lambda *_: next(rows))
    assert main([*TINY, *sets("engine.modes=serial-eager,overlap-graph"), "--on", "cpu"]) == 1
    assert "tokens: 1 of 1 requests differ between modes: request 0 at token 1\n" in capsys.readouterr().out


def test_an_expectation_is_checked_against_the_measurement(capsys: Capture) -> None:
    assert main([*CHAIN, "--on", "emulated", "--expect", "graph.launches>1"]) == 1
    assert "found graph.launches = 1" in capsys.readouterr().err


REFUSED: dict[str, tuple[list[str], str]] = {
    "a faster host": (
        [*SLEEP, "--on", "emulated", *sets("host.scale=0.5")],
        "sleep-overlap: host.scale: found 0.5, expected at least 1 on emulated",
    ),
    "a slower host": ([*CHAIN, "--on", "cpu", *sets("host.scale=2")], "launch-chain: host.scale: found 2, expected 1"),
    "jitter": ([*SLEEP, "--on", "emulated", *sets("host.jitter=true")], "host.jitter: found true, expected false"),
    "kernels": ([*CHAIN, "--on", "cpu", *sets("kernels.scale=2")], "kernels.scale: found 2, expected 1 on cpu"),
    "a timer": ([*SLEEP, "--on", "cpu"], "model: found a timer, expected a transformer on cpu"),
    "another engine": (
        [*TINY, "--on", "cpu", *sets("engine.preset=pytorch")],
        "engine.grain: found 'pytorch', expected 'engine' on cpu",
    ),
    "no machine": ([*CHAIN, "--on", "tpu"], "argument --on: invalid choice: 'tpu'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_backend_cannot_do_is_refused(name: str, tmp_path: Path, capsys: Capture) -> None:
    if "cpu" in REFUSED[name][0]:
        pytest.importorskip("torch")
    argv, message = REFUSED[name]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_slower_host_is_emulated(capsys: Capture) -> None:
    argv = [*SLEEP, *sets("host.scale=3", "engine.modes=serial-eager"), "--on", "emulated", "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)["modes"]["serial-eager"]
    assert min(found["repeats_us"]) >= 3 * 6_000 + 1_000  # 6 ms of host work a step would not reach it


def test_without_torch_the_extra_is_named(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.availability, "find_spec", lambda _: None)
    assert main([*CHAIN, "--on", "cuda"]) == 2
    expected = "overlapsim: --on cuda: torch is not installed; it comes with the extra: pip install 'overlapsim[gpu]'\n"
    assert capsys.readouterr().err == expected


def test_without_a_gpu_there_is_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([*CHAIN, "--on", "cuda"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("overlapsim: --on cuda: no NVIDIA GPU, ")
    assert err.count("\n") == 1


def test_a_cache_too_small_for_a_request_is_refused(capsys: Capture) -> None:
    pytest.importorskip("torch")
    sets = ["model=tiny", "workload.rate=10/s", "workload.requests=2", "workload.context=40", "engine.kv_blocks=2"]
    words = [word for text in sets for word in ("--set", text)]
    assert main(["run", "decode-llama-3.1-8b", "--on", "cpu", *words, "--set", "workload.output_tokens=8"]) == 2
    expected = "found 2, expected at least 4, the pages of the longest request"
    assert capsys.readouterr().err == f"overlapsim: decode-llama-3.1-8b: engine.kv_blocks: {expected}\n"


def test_a_model_that_does_not_fit_is_refused_with_what_is_needed_and_free(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    import gpu.engine.build
    import gpu.memory

    def never(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(gpu.memory, "free_bytes", lambda _: 2**30)
    monkeypatch.setattr(gpu.engine.build, "random_weights", never)
    assert main(["run", "decode-llama-3.1-8b", "--on", "cpu"]) == 2
    err = capsys.readouterr().err
    assert re.search(r"decode-llama-3\.1-8b: model: needs 3\d\.\d\d GiB \(weights 29\.9\d, cache 4\.\d\d, ", err)
    assert err.endswith("free on cpu are 1.00 GiB\n")
