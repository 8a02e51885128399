"""`python -m sglang.launch_server`: defaults of SGLang's server_args.py, of 2025 and 2026."""

from collections.abc import Sequence

from scenarios.launch_lines.options import TIMELESS, Options, positive, share
from scenarios.launch_lines.server import GIB, Server

DEFAULT_ROWS = 2048
"""SGLang derives its limit of running requests from the size of its cache, and takes no less than this."""
ORDERINGS = {"fcfs": "fcfs", "lpm": "longest-prefix"}
"""The orders that both SGLang and a scenario know."""
WHOLE = -1
"""What `--chunked-prefill-size` says to have prompts computed whole."""
BY_MEMORY = (
    (160, 16384, 512, 512),
    (60, 8192, 256, 512),
    (35, 4096, 32, 160),
    (20, 2048, 24, 80),
    (0, 2048, 8, 8),
)
"""Defaults of a GPU: from so many GiB on, the tokens of a chunk of prefill and the largest captured batch, of fewer
than `MANY` ranks and of more."""
MANY = 4


def read_sglang(words: Sequence[str], memory: int) -> Server:
    """The server that SGLang's launcher starts with these words on a device of so much memory."""
    options = Options((*TIMELESS, "--schedule-conservativeness"))
    options.add_argument("--model-path", "--model", dest="model")
    options.add_argument("--max-running-requests", type=positive)
    options.add_argument("--chunked-prefill-size", type=_chunk)
    options.add_argument("--max-prefill-tokens", type=positive, default=16384)
    options.add_argument("--enable-mixed-chunk", action="store_true")
    options.add_argument("--disable-radix-cache", action="store_true")
    options.add_argument("--schedule-policy", choices=tuple(ORDERINGS))
    options.add_argument("--mem-fraction-static", type=share)
    options.add_argument("--tensor-parallel-size", "--tp-size", "--tp", type=positive, default=1)
    options.add_argument("--data-parallel-size", "--dp-size", "--dp", type=positive, default=1)
    options.add_argument("--pipeline-parallel-size", "--pp-size", type=positive, default=1)
    options.add_argument("--enable-dp-attention", action="store_true")
    options.add_argument("--disable-cuda-graph", action="store_true")
    options.add_argument("--disable-cuda-graph-padding", action="store_true")
    options.add_argument("--cuda-graph-max-bs", type=positive)
    options.add_argument("--cuda-graph-bs", nargs="+", type=positive)
    options.add_argument("--disable-overlap-schedule", action="store_true")
    found, notes = options.read(words)
    if found.model is None:
        options.error("names no model; expected '--model-path MODEL'")
    if found.pipeline_parallel_size > 1 or found.enable_dp_attention:
        options.error("found a pipeline or attention of its own on each rank; tensor and data parallel can be read")
    overlap, graphs = not found.disable_overlap_schedule, not found.disable_cuda_graph
    server = Server(found.model, "sglang", overlap=overlap, graphs=graphs, notes=notes)
    server.ranks = found.tensor_parallel_size, "--tensor-parallel-size"
    server.replicas = found.data_parallel_size, "--data-parallel-size, in turn: SGLang's default router"
    rows = found.max_running_requests
    why = "--max-running-requests" if rows else "SGLang's smallest default, which grows with its cache"
    server.set("max_batch", rows or DEFAULT_ROWS, why)
    tokens = found.chunked_prefill_size
    default, few, many = next(sizes for least, *sizes in BY_MEMORY if memory >= least * GIB)
    largest = few if found.tensor_parallel_size < MANY else many
    if tokens == WHOLE:
        server.set("chunked_prefill", False, "--chunked-prefill-size -1")
        server.set("token_budget", found.max_prefill_tokens, "--max-prefill-tokens or its default")
    else:
        why = "--chunked-prefill-size" if tokens else "SGLang's default of --chunked-prefill-size on a GPU of this size"
        server.set("token_budget", tokens or default, why)
    if found.enable_mixed_chunk:
        server.set("batching", "mixed", "--enable-mixed-chunk")
    if found.disable_radix_cache:
        server.set("prefix_cache", False, "--disable-radix-cache")
    if found.schedule_policy:
        server.set("ordering", ORDERINGS[found.schedule_policy], "--schedule-policy")
    if found.mem_fraction_static:
        server.set("memory_share", found.mem_fraction_static, "--mem-fraction-static")
    if found.disable_cuda_graph_padding:
        server.set("pad_to_bucket", False, "--disable-cuda-graph-padding")
    if graphs and found.cuda_graph_bs:
        server.set("buckets", sorted(set(found.cuda_graph_bs)), "--cuda-graph-bs")
    elif graphs:
        largest = found.cuda_graph_max_bs or largest
        why = "--cuda-graph-max-bs" if found.cuda_graph_max_bs else "SGLang's default for a GPU of this size"
        sizes = [1, 2, 4, 8, 12, *range(16, 257, 8), *range(272, 512, 16), *range(512, largest + 1, 32)]
        if found.disable_cuda_graph_padding:
            sizes = list(range(1, largest + 1))
        server.set("buckets", [size for size in sizes if size <= largest], f"captured up to {largest} rows: {why}")
    return server


def _chunk(text: str) -> int:
    return WHOLE if text == "-1" else positive(text)
