"""Launch lines of vLLM and SGLang as scenarios: what each option becomes, and what cannot be read."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scenarios.errors import ScenarioError
from scenarios.launch_lines import as_scenario, read
from scenarios.loader import load_scenario
from sim.cli import main

GIB = 1 << 30
H200 = 141 * GIB


def engine(line: str, memory: int = H200) -> dict[str, Any]:
    """The [engine] table of the scenario that a line becomes."""
    found: dict[str, Any] = tomllib.loads(as_scenario(line, read(line, memory), "nvidia-h200"))["engine"]
    return found


def test_vllm_s_defaults_on_a_large_gpu_and_on_a_small_one() -> None:
    large, small = engine("vllm serve tiny"), engine("vllm serve tiny", 24 * GIB)
    assert large.pop("buckets") == large.pop("piecewise") == [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
    assert large == {"preset": "vllm-v1-async", "max_batch": 1024, "token_budget": 8192, "memory_share": 0.9}
    assert (small["max_batch"], small["token_budget"]) == (256, 2048)


def test_vllm_s_options() -> None:
    line = "vllm serve tiny --max-num-seqs 20 --max_num_batched_tokens=4096 --gpu-memory-utilization 0.8"
    found = engine(f"{line} --no-async-scheduling --num-gpu-blocks-override 99")
    assert found.pop("buckets") == found.pop("piecewise") == [1, 2, 4, 8, 16, 24, 32, 40]  # twice the rows
    assert found == {
        "preset": "vllm-v1", "max_batch": 20, "token_budget": 4096, "memory_share": 0.8, "kv_blocks": 99,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("option", "buckets"),
    [
        ("--cudagraph-capture-sizes 16 1 4", [1, 4, 16]),
        ("--max-cudagraph-capture-size 12", [1, 2, 4, 8]),
        ("--cuda-graph-sizes 16", [1, 2, 4, 8, 16]),
        ("""--compilation-config '{"cudagraph_capture_sizes": [1, 2]}'""", [1, 2]),
        ("-O 3 --max-num-seqs 2", [1, 2, 4]),
    ],
)
def test_vllm_s_captured_sizes(option: str, buckets: list[int]) -> None:
    assert engine(f"vllm serve tiny {option}")["buckets"] == buckets


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        ("vllm serve tiny", "overlap-graph"),
        ("vllm serve tiny --enforce-eager", "overlap-eager"),
        ("vllm serve tiny --no-async-scheduling", "serial-graph"),
        ("""vllm serve tiny --no-async-scheduling -O '{"cudagraph_mode": "NONE"}'""", "serial-eager"),
        ("vllm serve tiny --num-scheduler-steps 8", "overlap-graph"),
        ("python3 -m sglang.launch_server --model-path tiny", "overlap-graph"),
        ("CUDA_VISIBLE_DEVICES=0 python -m sglang.launch_server --model tiny --disable-cuda-graph", "overlap-eager"),
        ("sglang serve --model-path tiny --disable-overlap-schedule", "serial-graph"),
    ],
)
def test_the_mode_that_a_server_runs_in(line: str, mode: str) -> None:
    assert read(line, H200).mode == mode


def test_caches_of_prefixes_and_orders() -> None:
    assert engine("vllm serve tiny --no-enable-prefix-caching")["prefix_cache"] is False
    sglang = engine("sglang serve --model-path tiny --disable-radix-cache --schedule-policy lpm")
    assert (sglang["prefix_cache"], sglang["ordering"]) == (False, "longest-prefix")


def test_vllm_s_prompts_can_be_computed_whole() -> None:
    assert engine("vllm serve tiny --no-enable-chunked-prefill")["chunked_prefill"] is False


def test_full_graphs_alone_leave_prompts_eager() -> None:
    assert "piecewise" not in engine("""vllm serve tiny -O '{"cudagraph_mode": "FULL_DECODE_ONLY"}'""")


def test_rounds_of_vllm_0_6() -> None:
    found = engine("vllm serve tiny --num-scheduler-steps 10 --disable-async-output-proc")
    assert (found["preset"], found["overlap"]) == ("vllm-v0-multistep", {"steps": 10, "late_outputs": False})


def test_sglang_s_options() -> None:
    line = "python -m sglang.launch_server --model-path tiny"
    found = engine(line)
    assert found.pop("buckets") == [1, 2, 4, 8, 12, *range(16, 257, 8)]
    assert found == {"preset": "sglang", "max_batch": 2048, "token_budget": 8192}
    own = engine(f"{line} --max-running-requests 64 --chunked-prefill-size 2048 --mem-fraction-static 0.85")
    assert (own["max_batch"], own["token_budget"], own["memory_share"]) == (64, 2048, 0.85)
    whole = engine(f"{line} --chunked-prefill-size -1 --enable-mixed-chunk")
    assert (whole["chunked_prefill"], whole["token_budget"], whole["batching"]) == (False, 16384, "mixed")
    exact = engine(f"{line} --disable-cuda-graph-padding --cuda-graph-max-bs 5")
    assert (exact["pad_to_bucket"], exact["buckets"]) == (False, [1, 2, 3, 4, 5])
    assert engine(f"{line} --cuda-graph-bs 8 2")["buckets"] == [2, 8]


def test_options_without_a_place_are_told_and_those_without_effect_are_not() -> None:
    server = read("vllm serve tiny --port 8000 --quantization fp8 --enable-lora", H200)
    assert server.notes == ["not modelled: --quantization fp8", "not modelled: --enable-lora"]


@pytest.mark.parametrize(
    ("word", "model"),
    [("Qwen/Qwen3-0.6B", "qwen3-0.6b"), ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"), ("tiny", "tiny")],
)
def test_weights_are_known_by_their_names(word: str, model: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    line = f"vllm serve {word}"
    path.write_text(as_scenario(line, read(line, H200), "nvidia-h200"))
    assert load_scenario(path).scenario.model == model  # type: ignore[union-attr]


def test_a_config_file_s_shape_is_written_into_the_scenario(tmp_path: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100, "_name_or_path": 'odd "name"',
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    out = tmp_path / "mine.toml"
    assert main(["from", f"vllm serve {tmp_path}/config.json", "--out", str(out)]) == 0
    loaded = load_scenario(out)
    assert (loaded.model.name, loaded.model.layers, loaded.model.head_dim) == ('odd "name"', 2, 16)  # type: ignore[union-attr]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("llama-server -m x", "found 'llama-server -m x', expected 'vllm serve MODEL ...' or"),
        ("", "found '', expected 'vllm serve"),
        ("vllm serve 'x", "cannot be split into words: No closing quotation"),
        ("vllm serve", "names no model; expected 'vllm serve MODEL ...'"),
        ("sglang serve --tp 1", "names no model; expected '--model-path MODEL'"),
        ("vllm serve tiny --max-num-seqs 0", "argument --max-num-seqs: found '0', expected an integer of at least 1"),
        ("vllm serve tiny --gpu-memory-utilization 1.5", "found '1.5', expected a number above 0 and at most 1"),
        ("vllm serve tiny -tp 2 -pp 2", "found a pipeline of GPUs; tensor and data parallel can be read"),
        ("sglang serve --model-path tiny --dp 2 --enable-dp-attention", "attention of its own on each rank"),
        ("vllm serve tiny -O {", "--compilation-config: no valid JSON"),
        ("vllm serve tiny -O [1]", "--compilation-config: found '[1]', expected a JSON object"),
        ("vllm serve gpt-9", "model: found 'gpt-9', expected a shipped model"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["from", line]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["vllm serve tiny {} 2", "sglang serve --model-path tiny {}=2"], ids=["vllm", "sglang"]
)
def test_gpus_that_share_a_model_or_the_requests(line: str) -> None:
    def written(option: str) -> dict[str, Any]:
        text = line.format(option)
        return tomllib.loads(as_scenario(text, read(text, H200), "nvidia-h200"))

    assert written("--tensor-parallel-size")["tensor_parallel"] == {"ranks": 2}
    assert "replicas" not in written("--tensor-parallel-size")
    router = "least-loaded" if line.startswith("vllm") else "round-robin"
    several = written("--data-parallel-size")
    assert several["replicas"] == {"count": 2, "router": router}
    assert "rate" in several["workload"]  # nobody shares out a closed batch


def test_sglang_captures_larger_batches_on_many_ranks() -> None:
    large = [engine(f"sglang serve --model-path tiny --tp {ranks}")["buckets"][-1] for ranks in (2, 4)]
    assert large == [256, 512]


def test_every_line_s_scenario_loads(tmp_path: Path) -> None:
    sglang = "sglang serve --model-path tiny --disable-cuda-graph --tp 2 --dp 2"
    for number, line in enumerate(("vllm serve tiny --tp=2", sglang)):
        path = tmp_path / f"{number}.toml"
        path.write_text(as_scenario(line, read(line, H200), "nvidia-h200"))
        with_scenario = load_scenario(path)
        assert len(with_scenario.modes) == 4


def test_an_unknown_profile_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ScenarioError):
        read("nothing", H200)
    assert main(["from", "vllm serve tiny", "--profile", "nvidia-b300"]) == 2
    assert "nvidia-b300" in capsys.readouterr().err
