"""Sizes of shipped models against published ones, and shapes out of Hugging Face configs."""

import json
from pathlib import Path
from typing import Any

import pytest

from scenarios.errors import ScenarioError
from scenarios.hugging_face import from_hugging_face
from scenarios.loader import load_model

QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "_name_or_path": "qwen3-0.6b",
    "num_hidden_layers": 28,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def config_file(folder: Path, **changes: Any) -> Path:
    tree = {key: value for key, value in {**QWEN3, **changes}.items() if value != "absent"}
    path = folder / "config.json"
    path.write_text(json.dumps(tree))
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        from_hugging_face(path)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.2-1b", 1_235_814_400),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen3-0.6b", 596_049_920),
    ],
)
def test_a_shipped_model_has_as_many_parameters_as_its_published_weights(name: str, num_parameters: int) -> None:
    assert load_model(name).num_parameters == num_parameters


def test_memory_follows_from_the_shape() -> None:
    llama = load_model("llama-3.1-8b")
    assert llama.weight_bytes == 16_060_522_496
    assert llama.kv_bytes_per_token == 131_072


def test_a_config_gives_the_shipped_shape(tmp_path: Path) -> None:
    config_file(tmp_path)
    assert from_hugging_face(tmp_path) == load_model("qwen3-0.6b")


def test_a_config_without_them_has_as_many_kv_heads_as_heads_and_divides_hidden(tmp_path: Path) -> None:
    shape = from_hugging_face(config_file(tmp_path, num_key_value_heads="absent", head_dim=None))
    assert (shape.kv_heads, shape.head_dim) == (16, 64)


def test_only_architectures_with_a_bias_or_a_norm_on_queries_get_one(tmp_path: Path) -> None:
    traits = {}
    for name in ("Llama", "Mistral", "Qwen2", "Qwen3"):
        shape = from_hugging_face(config_file(tmp_path, architectures=[f"{name}ForCausalLM"]))
        traits[name] = (shape.qkv_bias, shape.qk_norm)
    assert traits == {
        "Llama": (False, False),
        "Mistral": (False, False),
        "Qwen2": (True, False),
        "Qwen3": (False, True),
    }


def test_a_config_with_attention_bias_in_half_precision_keeps_both(tmp_path: Path) -> None:
    shape = from_hugging_face(config_file(tmp_path, attention_bias=True, torch_dtype="float16"))
    assert shape.qkv_bias
    assert shape.dtype == "fp16"


def test_an_unsupported_architecture_is_named_with_the_supported_ones(tmp_path: Path) -> None:
    known = "'LlamaForCausalLM', 'MistralForCausalLM', 'Qwen2ForCausalLM' or 'Qwen3ForCausalLM'"
    assert problems(config_file(tmp_path, architectures=["MixtralForCausalLM"])) == [
        f"architectures[0]: found 'MixtralForCausalLM', expected one of {known}"
    ]


def test_every_missing_field_of_a_config_is_named(tmp_path: Path) -> None:
    path = config_file(tmp_path, architectures="absent", hidden_size="absent", vocab_size="absent")
    assert [line.split(",")[0] for line in problems(path)] == [
        "architectures: missing",
        "hidden_size: missing",
        "vocab_size: missing",
    ]


def test_a_bad_value_in_a_config_is_reported_under_the_key_of_the_config(tmp_path: Path) -> None:
    path = config_file(tmp_path, num_hidden_layers="28", num_attention_heads=0)
    assert problems(path) == [
        "num_hidden_layers: found '28', expected an integer of at least 1",
        "num_attention_heads: found 0, expected an integer of at least 1",
    ]


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    path = config_file(tmp_path, quantization_config={"quant_method": "fp8"})
    assert problems(path) == ["quantization_config: found a table, expected no quantization"]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert "JSON" in problems(tmp_path)[0]
