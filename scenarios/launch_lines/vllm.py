"""`vllm serve`: defaults of vLLM's V1 engine from engine/arg_utils.py and config, of 2025 and 2026."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from scenarios.errors import Problem, ScenarioError
from scenarios.launch_lines.options import LINE, TIMELESS, Options, positive, share
from scenarios.launch_lines.server import GIB, Server

LARGEST_CAPTURED = 512
LARGE_DEVICE = 70 * GIB  # where vLLM takes its larger defaults, A100 excepted


def read_vllm(words: Sequence[str], memory: int) -> Server:
    """The server that `vllm serve` starts with these words on a device of so much memory."""
    options = Options(TIMELESS)
    options.add_argument("model", nargs="?")
    options.add_argument("--model", dest="named")
    options.add_argument("--max-num-seqs", type=positive)
    options.add_argument("--max-num-batched-tokens", type=positive)
    options.add_argument("--gpu-memory-utilization", type=share)
    options.add_argument("--num-gpu-blocks-override", type=positive)
    options.add_argument("--tensor-parallel-size", "-tp", "--tp", type=positive, default=1)
    options.add_argument("--data-parallel-size", "-dp", "--dp", type=positive, default=1)
    options.add_argument("--pipeline-parallel-size", "-pp", type=positive, default=1)
    options.add_argument("--enforce-eager", action="store_true")
    options.add_argument("--enable-chunked-prefill", action=argparse.BooleanOptionalAction)
    options.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction)
    options.add_argument("--async-scheduling", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("--num-scheduler-steps", type=positive, default=1)
    options.add_argument("--disable-async-output-proc", action="store_true")
    options.add_argument("--cudagraph-capture-sizes", "--cuda-graph-sizes", nargs="+", type=positive)
    options.add_argument("--max-cudagraph-capture-size", type=positive)
    options.add_argument("--compilation-config", "-O")
    found, notes = options.read(words)
    if found.pipeline_parallel_size > 1:
        options.error("found a pipeline of GPUs; tensor and data parallel can be read")
    model = found.model or found.named
    if model is None:
        options.error("names no model; expected 'vllm serve MODEL ...'")
    compilation = _compilation(found.compilation_config)
    graphs = not found.enforce_eager and compilation.get("cudagraph_mode") not in ("NONE", 0)
    rounds = found.num_scheduler_steps > 1
    preset = "vllm-v0-multistep" if rounds else "vllm-v1-async" if found.async_scheduling else "vllm-v1"
    server = Server(model, preset, overlap=rounds or found.async_scheduling, graphs=graphs, notes=notes)
    server.ranks = found.tensor_parallel_size, "--tensor-parallel-size"
    server.replicas = found.data_parallel_size, "--data-parallel-size; to the least loaded, as vLLM's clients do"
    server.router = "least-loaded"
    if rounds:
        server.set("overlap.steps", found.num_scheduler_steps, "--num-scheduler-steps")
        late = not found.disable_async_output_proc
        server.set("overlap.late_outputs", late, "asynchronous output processing, vLLM's default since 0.6.0")
    rows = _limits(server, found, memory)
    if found.enable_chunked_prefill is not None:
        server.set("chunked_prefill", found.enable_chunked_prefill, "--enable-chunked-prefill or its opposite")
    if found.enable_prefix_caching is not None:
        server.set("prefix_cache", found.enable_prefix_caching, "--enable-prefix-caching or its opposite")
    if graphs:
        sizes, why = _captured(found, compilation, rows)
        server.set("buckets", sizes, why)
        if not rounds and compilation.get("cudagraph_mode") not in ("FULL", "FULL_DECODE_ONLY"):
            server.set("piecewise", sizes, "the same sizes: vLLM's default is FULL_AND_PIECEWISE")
    return server


def _limits(server: Server, found: argparse.Namespace, memory: int) -> int:
    """Rows, tokens and memory; returns the rows."""
    where = "vLLM's default on a GPU of at least 70 GiB" if memory >= LARGE_DEVICE else "vLLM's default"
    rows, tokens = (1024, 8192) if memory >= LARGE_DEVICE else (256, 2048)
    own = {"max_batch": found.max_num_seqs, "token_budget": found.max_num_batched_tokens}
    for key, default, option in (
        ("max_batch", rows, "--max-num-seqs"),
        ("token_budget", tokens, "--max-num-batched-tokens"),
    ):
        server.set(key, own[key] or default, option if own[key] else f"{where} of {option}")
    used = found.gpu_memory_utilization
    option = "--gpu-memory-utilization"
    server.set("memory_share", used or 0.9, option if used else f"vLLM's default of {option}")
    if found.num_gpu_blocks_override:
        server.set("kv_blocks", found.num_gpu_blocks_override, "--num-gpu-blocks-override")
    return int(own["max_batch"] or rows)


def _captured(found: argparse.Namespace, compilation: dict[str, Any], rows: int) -> tuple[list[int], str]:
    """The captured sizes and where they come from."""
    own = found.cudagraph_capture_sizes or compilation.get("cudagraph_capture_sizes")
    if own and len(own) > 1:
        return sorted(set(own)), "--cudagraph-capture-sizes"
    largest = found.max_cudagraph_capture_size or compilation.get("max_cudagraph_capture_size") or (own or [None])[0]
    why = f"captured up to {largest}, as the line says"
    if largest is None:
        largest = min(2 * rows, LARGEST_CAPTURED)
        why = f"captured up to twice --max-num-seqs, at most {LARGEST_CAPTURED}"
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)]
    return [size for size in sizes if size <= largest], why


def _compilation(text: str | None) -> dict[str, Any]:
    """The fields of a --compilation-config; a bare level has none."""
    if text is None or text.isdigit():
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ScenarioError([Problem(LINE, "--compilation-config", f"no valid JSON: {error}")]) from None
    if not isinstance(found, dict):
        raise ScenarioError([Problem(LINE, "--compilation-config", f"found {text!r}, expected a JSON object")])
    return found
