"""The command line: what it prints, what it writes, what its exit code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import sim.studies.results
from scenarios.shelf import PROFILES
from sim.cli import main
from sim.timeline.latency import METRICS, STATISTICS


def sets(*overrides: str) -> list[str]:
    return [word for text in overrides for word in ("--set", text)]


SMALL = sets("model=tiny", "workload.output_tokens=10", "engine.modes=serial-eager,overlap-graph")
TINY = ["run", "decode-qwen3-0.6b", *SMALL]
SERVING = [*TINY, *sets("workload.batch=3")]
OPEN = [*TINY, *sets("workload.rate=20000/s", "workload.requests=12", "workload.context=40")]
SERVING_KEYS = {
    "step_us", "tokens_per_s", "device_busy", "exposed_host_us", "idle", "host", "launches", "kernels", "late_rows",
    "speedup",
}  # fmt: skip
OPEN_KEYS = {f"{metric}_{name}_us" for metric in METRICS for name in STATISTICS} | {
    "requests_per_s", "saturated", "batch_mean", "batch_max", "kv_blocks_mean", "kv_blocks_max", "preemptions",
    "prefix_hits", "padding_rows",
}  # fmt: skip
A_CONDITION = "a condition such as 'overlap-graph.speedup>1.3'"
PROGRAM_KEYS = {"total_us", "host_us", "device_us", "speedup", "launches", "kernels"}
HUGGING_FACE = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 512, "tie_word_embeddings": False,
}  # fmt: skip
Capture = pytest.CaptureFixture[str]
Modes = dict[str, dict[str, Any]]


@pytest.fixture
def modes(capsys: Capture) -> Callable[..., Modes]:
    """Run the command with ``--json`` and return its ``modes``."""

    def run(*argv: str) -> Modes:
        assert main([*argv, "--json"]) == 0
        found: Modes = json.loads(capsys.readouterr().out)["modes"]
        return found

    return run


def shell(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False)  # noqa: S603


def test_list_names_everything_that_is_shipped(capsys: Capture) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^  hundred-matmuls +program +A hundred matrix products, eager and as a graph$", out, re.MULTILINE
    )
    assert re.search(r"^models\n  .*\btiny\b", out, re.MULTILINE)
    assert "profiles\n  nvidia-h100, nvidia-h200\n" in out
    assert re.search(r"^engines\n  .*\blean, .*\bpytorch", out, re.MULTILINE)


def test_list_as_json(capsys: Capture) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["scenarios", "suites", "models", "profiles", "engines"]
    titles = {row["name"]: (row["kind"], row["title"]) for row in found["scenarios"]}
    assert titles["sleep-overlap"] == ("serving", "Timers of 10 ms behind 6 ms of host work")
    assert "tiny" in found["models"]


def test_the_table_of_a_serving_run_and_why(capsys: Capture) -> None:
    assert main(["run", "sleep-overlap"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "Timers of 10 ms behind 6 ms of host work"
    assert lines[1].startswith("predicted for model timer, engine lean, profile nvidia-h200 (NVIDIA H200, torch ")
    assert re.split(r"  +", lines[2]) == ["mode", "step", "tokens/s", "device busy", "exposed host", "speedup"]
    assert re.match(r"serial-eager +16\.0\d ms +2\d\d +62\.\d% +6\.0\d ms +1\.00x", lines[3])
    assert re.match(r"overlap-eager +10\.00 ms +3\d\d +100\.0% +0\.00 us +1\.60x", lines[4])
    assert re.fullmatch(
        r"serial-eager: 10,001 us of device work a step, and then 60\d\d.* us .* for the host",
        lines[5].replace(",0", "0").replace("10001", "10,001"),
    )
    assert lines[6] == "overlap-eager: 10,001 us of device work a step: device-bound by 1.7x"
    assert lines[7].startswith("overlap-eager is 1.60")
    assert lines[8:] == ["overlap still pays at batch 512", "simulated by the fast machine"]
    assert err == ""


@pytest.mark.parametrize(("rate", "what"), [(50, "mean TPOT (below saturation)"), (20_000, "throughput (saturated)")])
def test_the_table_of_an_open_loop_says_what_its_speedup_compares(capsys: Capture, rate: int, what: str) -> None:
    assert main([*OPEN, *sets(f"workload.rate={rate}/s")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith(f"workload.rate={rate}/s")
    assert lines[3].endswith("speedup")
    assert ("TTFT" in {line.split()[0] for line in lines}) is ("TPOT" in what)
    assert any(line.startswith("saturated: ") for line in lines) is ("saturated" in what)
    assert any(line.startswith("means over 5 draws of the workload, seeds 0 to 4; ") for line in lines)
    assert lines[-2] == f"speedup is the ratio of {what}"


def test_the_table_of_a_program(capsys: Capture) -> None:
    assert main(["run", "launch-chain", *sets("count=5")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "with count=5"
    assert lines[3].split() == ["mode", "total", "host", "device", "launches", "kernels", "speedup"]
    assert [line.split()[0] for line in lines[4:6]] == ["eager", "graph"]
    assert [line.split()[-3:-1] for line in lines[4:6]] == [["5", "5"], ["1", "5"]]


def test_the_json_of_a_serving_run(capsys: Capture) -> None:
    assert main([*SERVING, "--json", "--seed", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    about = ["scenario", "digest", "seed", "replications", "profile", "speedup_of", "machine"]
    assert list(found) == [*about, "modes", "cycles", "why"]
    assert (found["scenario"], found["seed"], found["profile"]) == ("decode-qwen3-0.6b", 5, "nvidia-h200")
    assert list(found["modes"]) == ["serial-eager", "overlap-graph"]
    for numbers in found["modes"].values():
        assert set(numbers) == SERVING_KEYS
        assert list(numbers["idle"]) == [
            "schedule", "prepare", "launch", "launch_latency", "wake_up", "process", "gap", "no_work",
        ]  # fmt: skip
        idle = sum(numbers["idle"].values())
        assert idle == pytest.approx(numbers["step_us"] * (1 - numbers["device_busy"]), rel=1e-3, abs=0.01)
    assert set(found["why"]) == {"base", "target", "gain", "factors", "break_evens"}
    assert found["why"]["gain"] == pytest.approx(found["modes"]["overlap-graph"]["speedup"], rel=1e-4)


def test_the_json_of_an_open_loop_adds_latencies_and_leaves_out_why(capsys: Capture) -> None:
    assert main([*OPEN, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "why" not in found
    assert all(set(numbers) == SERVING_KEYS | OPEN_KEYS | {"intervals"} for numbers in found["modes"].values())
    assert found["replications"] == 5


def test_the_json_of_a_program(modes: Callable[..., Modes]) -> None:
    found = modes("run", "launch-chain")
    assert {mode: set(numbers) for mode, numbers in found.items()} == {"eager": PROGRAM_KEYS, "graph": PROGRAM_KEYS}


def test_out_writes_three_files_and_nothing_else(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "runs" / "mine"
    assert main(["run", "launch-chain", "--out", str(out)]) == 0
    names = ["summary.json", "timeline.json", "timeline.png"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        f"runs/mine/{n}" for n in names
    ]
    assert capsys.readouterr().out.splitlines()[-1] == "wrote " + ", ".join(str(out / name) for name in names)


def test_with_json_out_prints_the_object_alone(tmp_path: Path, capsys: Capture) -> None:
    assert main(["run", "launch-chain", "--json", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.parametrize(
    ("condition", "code", "message"),
    [
        ("graph.speedup>1", 0, ""),
        ("graph.launches == 1", 0, ""),
        ("graph.launches<=0", 1, "overlapsim: expected graph.launches<=0, found graph.launches = 1\n"),
        ("grap.speedup>1", 2, "overlapsim: --expect: found 'grap.speedup>1', did you mean 'graph'?\n"),
        ("graph.speed>1", 2, "overlapsim: --expect: found 'graph.speed>1', did you mean 'graph.speedup'?\n"),
        ("graph>1", 2, "overlapsim: --expect: 'graph' is not a number\n"),
        ("graph.speedup", 2, f"overlapsim: --expect: found 'graph.speedup', expected {A_CONDITION}\n"),
        ("graph.speedup>1e", 2, f"overlapsim: --expect: found 'graph.speedup>1e', expected {A_CONDITION}\n"),
    ],
)
def test_expect_decides_the_exit_code(capsys: Capture, condition: str, code: int, message: str) -> None:
    assert main(["run", "launch-chain", "--expect", condition]) == code
    out, err = capsys.readouterr()
    assert err == message
    assert bool(out) == (code < 2)


def test_every_broken_expectation_is_said(capsys: Capture) -> None:
    conditions = ["--expect", "graph.speedup<1", "--expect", "graph.speedup>1", "--expect", "eager.kernels<100"]
    assert main(["run", "launch-chain", *conditions]) == 1
    assert [line.split()[2] for line in capsys.readouterr().err.splitlines()] == [
        "graph.speedup<1,",
        "eager.kernels<100,",
    ]


GRAPH, EAGER = "overlap-graph", "serial-eager"


@pytest.mark.parametrize(
    ("mode", "number", "low", "high"),
    [
        (EAGER, "step_us", "workload.batch=2", "workload.batch=200"),
        (GRAPH, "step_us", "workload.context=16", "workload.context=1000000"),
        (GRAPH, "tokens_per_s", "workload.output_tokens=8", "workload.output_tokens=30"),
        (EAGER, "step_us", "host.scale=0.5", "host.scale=2"),
        (EAGER, "step_us", "host.extra=0ns", "host.extra=2ms"),
        (EAGER, "step_us", "kernels.scale=1", "kernels.scale=300"),
        (GRAPH, "launches", "engine.buckets=[3]", "engine.buckets=[1]"),
        (EAGER, "kernels", "engine.preset=lean", "engine.preset=pytorch"),
        (EAGER, "kernels", "model=tiny", "model=qwen2.5-0.5b"),
    ],
)
def test_set_changes_a_closed_batch_the_right_way(
    modes: Callable[..., Modes], mode: str, number: str, low: str, high: str
) -> None:
    smaller, larger = (modes(*SERVING, *sets(text))[mode][number] for text in (low, high))
    assert smaller < larger


def test_host_extra_is_added_to_each_serial_step(modes: Callable[..., Modes]) -> None:
    plain, slow = (modes(*SERVING, *sets(f"host.extra={extra}"))[EAGER] for extra in ("0ns", "2ms"))
    assert slow["step_us"] - plain["step_us"] == pytest.approx(2_000, abs=0.01)
    assert slow["idle"]["schedule"] - plain["idle"]["schedule"] == pytest.approx(2_000, abs=0.01)


def test_set_modes_chooses_and_orders_them(modes: Callable[..., Modes]) -> None:
    assert list(modes(*SERVING, *sets("engine.modes=overlap-eager,serial-eager"))) == ["overlap-eager", EAGER]
    assert list(modes("run", "launch-chain", *sets("modes=graph"))) == ["graph"]


def test_set_hardware_takes_another_profile(modes: Callable[..., Modes], tmp_path: Path) -> None:
    slow = tmp_path / "slow.toml"
    call = '[constants.launch_call]\nvalue = "'
    before, after = (PROFILES.folder / "nvidia-h200.toml").read_text().split(call)
    value, rest = after.split("us", 1)
    slow.write_text(f"{before}{call}{float(value) + 40:.3f}us{rest}")
    plain, changed = modes(*SERVING), modes(*SERVING, *sets(f"hardware.profile={slow}"))
    added = changed[EAGER]["idle"]["launch"] - plain[EAGER]["idle"]["launch"]
    assert added == pytest.approx(26 * 40, rel=0.05)


def test_set_rate_and_policy_change_an_open_loop(modes: Callable[..., Modes]) -> None:
    slow, fast = (modes(*OPEN, *sets(f"workload.rate={rate}/s"))[EAGER] for rate in (50, 20_000))
    assert slow["tokens_per_s"] < fast["tokens_per_s"]
    assert slow["ttft_mean_us"] < fast["ttft_mean_us"]
    prompt, patient = (modes(*OPEN, *sets(f"engine.batching={p}"))[EAGER] for p in ("prefill-first", "decode-first"))
    assert prompt["ttft_mean_us"] < patient["ttft_mean_us"]
    assert prompt["tpot_mean_us"] > patient["tpot_mean_us"]


def test_set_trace_serves_a_file_of_either_format(modes: Callable[..., Modes], tmp_path: Path) -> None:
    azure, mooncake = tmp_path / "a.csv", tmp_path / "m.jsonl"
    azure.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.0000000,40,5\n2023-11-16 18:17:03.0000100,10,9\n"
    )
    mooncake.write_text(
        '{"timestamp": 0, "input_length": 40, "output_length": 5}\n'
        '{"timestamp": 0.01, "input_length": 10, "output_length": 9}\n'
    )
    from_csv, from_jsonl = (modes(*TINY, *sets(f"workload.trace={path}")) for path in (azure, mooncake))
    assert from_csv == from_jsonl
    assert set(from_csv[EAGER]) == SERVING_KEYS | OPEN_KEYS
    (tmp_path / "a.csv").write_text(azure.read_text().replace(",40,5", ",4000000,5"))
    assert modes(*TINY, *sets(f"workload.trace={azure}"))[EAGER]["ttft_mean_us"] > from_csv[EAGER]["ttft_mean_us"]


@pytest.mark.parametrize("program", ["hundred-matmuls", "launch-chain"])
def test_set_n_and_count_change_a_program(modes: Callable[..., Modes], program: str) -> None:
    plain, larger, longer = (modes("run", program, *sets(text)) for text in ("count=100", "n=4096", "count=200"))
    assert larger["graph"]["device_us"] > 5 * plain["graph"]["device_us"]
    assert larger["eager"]["launches"] == plain["eager"]["launches"] == 100
    assert (longer["eager"]["launches"], longer["graph"]["kernels"]) == (200, 200)


def test_model_takes_a_config_of_hugging_face(modes: Callable[..., Modes], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(HUGGING_FACE))
    assert modes(*SERVING)[EAGER]["kernels"] == 26
    bare = [word for word in SERVING if word != "model=tiny"]
    bare.remove("--set")
    assert modes(*bare, "--model", str(config))[EAGER]["kernels"] == 37  # one layer more


def test_a_naive_loop_is_the_slowest(modes: Callable[..., Modes]) -> None:
    found = modes(*SERVING, *sets("engine.modes=naive,serial-eager,overlap-eager,overlap-graph"))
    assert found["naive"]["step_us"] > max(found[mode]["step_us"] for mode in found if mode != "naive")
    assert found["naive"]["speedup"] < found[EAGER]["speedup"] == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list"], 0),
        (["list", "--json"], 0),
        (["run", "launch-chain"], 0),
        (["run", "launch-chain", "--json"], 0),
        (["run", "launch-chain", "--expect", "graph.speedup<1"], 1),
    ],
    ids=str,
)
def test_a_reader_that_leaves_early_changes_neither_the_exit_code_nor_what_is_said(words: list[str], code: int) -> None:
    process = subprocess.Popen(  # noqa: S603  our own interpreter and words
        [sys.executable, "-m", "sim.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == code
    assert said.count("\n") == (code == 1)


def test_of_a_key_given_twice_the_last_value_counts_and_is_told(capsys: Capture) -> None:
    assert main(["run", "launch-chain", "--set", "count=9", "--set", "n=128", "--set", "count=3"]) == 0
    assert "with n=128, count=3\n" in capsys.readouterr().out


def test_an_interrupt_exits_130_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sim.studies.results, "run_all", interrupted)
    assert main(["run", "launch-chain", "--out", str(tmp_path / "runs")]) == 130
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_sweep_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.studies.sweep.run.run_points", interrupted)
    words = ["sweep", "launch-chain", "--vary", "count=1,2", "--out", str(tmp_path / "a.parquet")]
    assert main(words) == 130
    assert capsys.readouterr().err.endswith("overlapsim: interrupted; the same command with --resume goes on\n")


def test_help_without_arguments_and_as_asked_for(capsys: Capture) -> None:
    assert main([]) == 0
    bare = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == bare
    assert "0 done, 1 the answer is no" in bare
    assert main(["run", "--help"]) == 0
    assert "--expect" in capsys.readouterr().out


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"overlapsim {version('overlapsim')}\n"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from sim.cli import main; main(['--help']); print(*sys.modules, sep='\\n')"
    done = shell("-c", code)
    assert done.returncode == 0
    loaded = set(done.stdout.split())
    assert "argparse" in loaded
    assert not loaded & {"numpy", "pydantic", "simpy", "matplotlib", "rich", "torch"}


def test_a_program_that_draws_nothing_loads_no_matplotlib() -> None:
    code = "import sys; from sim.cli import main; main(['run', 'launch-chain']); sys.exit('matplotlib' in sys.modules)"
    assert shell("-c", code).returncode == 0


@pytest.mark.parametrize(
    ("argv", "code"), [(["list"], 0), (["run", "launch-chain", "--expect", "graph.speedup<1"], 1), (["run", "nope"], 2)]
)
def test_the_exit_code_reaches_the_shell(argv: list[str], code: int) -> None:
    done = shell("-m", "sim.cli", *argv)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_list_engines_sets_their_knobs_side_by_side(capsys: Capture) -> None:
    assert main(["list", "engines"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^sglang-v0.4 +forward-thread +2 +2 +stop, length +in-loop +forward +ring +23 to 160", out, re.MULTILINE
    )
    assert re.search(r"^nano-vllm +- +1 +1 +-", out, re.MULTILINE)
    assert "nano-vllm has no overlap: each step ends in .tolist()" in out
    assert main(["list", "engines", "--json"]) == 0
    rows = {row["engine"]: row for row in json.loads(capsys.readouterr().out)["engines"]}
    assert (rows["nano-vllm"]["overlap"], rows["vllm-v1-async"]["staging"]) == (None, "event")
    assert rows["vllm-v1-async"]["inputs"] == "forward"
