"""A model's shape out of the config.json that comes with its weights."""

import json
from pathlib import Path
from typing import Any

from scenarios.errors import MISSING, Problem, Refusal, ScenarioError, dotted, listed
from scenarios.model import ModelShape
from scenarios.text import read_text
from scenarios.translation import validated

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")

_KEYS = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate": "intermediate_size",
    "vocab": "vocab_size",
    "tied_embeddings": "tie_word_embeddings",
}
_DTYPES = {"bfloat16": "bf16", "float16": "fp16"}
_OPTIONAL = ("kv_heads", "head_dim", "tied_embeddings")


def from_hugging_face(path: str | Path) -> ModelShape:
    """Read a config.json, or the one in a folder, of an unquantized dense model of the Llama type.

    A checkpoint that names no type is taken as bfloat16. A sliding window is left out: attention is priced over the
    whole context. Raises `ScenarioError` with everything that is missing or
    that we cannot represent, such as the architecture of a mixture of experts.
    """
    file = Path(path) / "config.json" if Path(path).is_dir() else Path(path)
    try:
        config = json.loads(read_text(file, str(file)))
    except json.JSONDecodeError as error:
        raise ScenarioError([Problem(str(file), f"line {error.lineno}", f"no valid JSON: {error.msg}")]) from None
    if not isinstance(config, dict):
        raise ScenarioError([Problem(str(file), "", Refusal(config, "a JSON object").message)])
    if refusals := _refusals(config):
        raise ScenarioError(Problem(str(file), dotted(refusal.at), refusal.message) for refusal in refusals)
    return _shape(config, file)


def _refusals(config: dict[str, Any]) -> list[Refusal]:
    expected = f"one of {listed(ARCHITECTURES)}"
    match config.get("architectures"):
        case [architecture] if architecture in ARCHITECTURES:
            refusals = []
        case [architecture]:
            refusals = [Refusal(architecture, expected, at=("architectures", 0))]
        case other:
            refusals = [Refusal(MISSING if other is None else other, expected, at=("architectures",))]
    if config.get("quantization_config") is not None:
        refusals.append(Refusal(config["quantization_config"], "no quantization", at=("quantization_config",)))
    required = [key for name, key in _KEYS.items() if name not in _OPTIONAL]
    refusals += [Refusal(MISSING, "an integer of at least 1", at=(key,)) for key in required if config.get(key) is None]
    for key in ("torch_dtype", "dtype"):
        if config.get(key) not in (None, *_DTYPES):
            refusals.append(Refusal(config[key], f"one of {listed(_DTYPES)}", at=(key,)))
    return refusals


def _shape(config: dict[str, Any], file: Path) -> ModelShape:
    architecture = config["architectures"][0]
    tree = {name: config[key] for name, key in _KEYS.items() if config.get(key) is not None}
    tree.setdefault("kv_heads", tree["heads"])
    if "head_dim" not in tree and isinstance(tree["hidden"], int) and isinstance(tree["heads"], int):
        tree["head_dim"] = tree["hidden"] // max(tree["heads"], 1)
    tree["name"] = config.get("_name_or_path") or file.resolve().parent.name
    tree["qk_norm"] = architecture == "Qwen3ForCausalLM"
    tree["qkv_bias"] = architecture == "Qwen2ForCausalLM" or config.get("attention_bias", False)
    tree["dtype"] = _DTYPES[config.get("dtype") or config.get("torch_dtype") or "bfloat16"]
    try:
        return validated(ModelShape, tree, lambda _: str(file))
    except ScenarioError as error:
        # the schema's keys are ours; the file's author knows them by the file's
        raise ScenarioError(
            Problem(problem.file, _KEYS.get(problem.path, problem.path), problem.message) for problem in error.problems
        ) from None
