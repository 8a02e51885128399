"""What a span is, by its name: the simulator's kernels, this project's, PyTorch's and cuBLAS's, and runtime calls."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Family:
    """Spans that are one thing under several names.

    ``priced_by`` is the field that gives its duration: of the profile (``kernels``, ``copies``, ``constants``) or of
    the engine preset (``host``). ``call`` names the framework's operation that launches such a kernel.
    """

    name: str
    priced_by: str
    call: str = ""


def _kernel(name: str, call: str = "") -> Family:
    return Family(name, f"kernels.{name}", call or name)


KERNELS = (
    (r"^(prefill_attention$|.*(fmha|flash|cutlassF|scaled_dot))", _kernel("attention_prefill", "attention")),
    (r"^(decode_attention$|_?split_kernel)", _kernel("attention_decode", "attention")),
    (r"^_?combine(_kernel)?", _kernel("attention_combine", "combine")),
    (r"^(resolve$|_resolve_kernel)", Family("resolve", "kernels.gather", "resolve")),
    (r"^(store$|_store_kernel|.*index_copy)", Family("store", "kernels.gather", "store")),
    (r"^(embedding$|_embed_kernel)", _kernel("embedding")),
    (r"^(argmax$|.*ArgMax)", Family("argmax", "kernels.sample", "argmax")),
    (r"^(.*_norm$|_norm_kernel)", _kernel("norm")),
    (r"^(rope$|_rope_kernel)", _kernel("rope")),
    (r"^(kv_write$|_write_cache_kernel)", _kernel("kv_write")),
    (r"^(last_tokens$|.*index_elementwise)", Family("index", "kernels.elementwise", "index")),
    (r"^down_proj$", _kernel("gemm", "gemm_long")),
    (r"^(.*_proj$|lm_head$|matmul |.*(gemm|gemv|nvjet|splitK|cublas|cutlass))", _kernel("gemm")),
    (r"^(sleep$|timer$|.*spin_kernel)", Family("sleep", "model.step", "sleep")),
    (r"^Memcpy DtoD", Family("device copy", "copies.d2d", "copy")),
    (r"", _kernel("elementwise")),
)
COPIES = (
    (r"(?i).*(h2d|htod)", Family("copy to the device", "copies.h2d", "memcpy")),
    (r"(?i).*(d2h|dtoh)", Family("copy to the host", "copies.d2h", "memcpy")),
    (r"", Family("device copy", "copies.d2d", "copy")),
)
REST = Family("call", "engine.framework.default")
CALLS = (
    (r"cu(da)?GraphLaunch", Family("graph launch", "constants.graph_launch_call")),
    (r"cu(da)?Launch", Family("launch", "constants.launch_call")),
    (r"cu(da)?Memcpy", Family("copy call", "constants.copy_call")),
    (r"cu(da)?EventRecord", Family("event record", "constants.event_record_call")),
    (r"cu(da)?StreamWaitEvent", Family("event wait", "constants.event_wait_call")),
    (r"cu(da)?EventQuery", Family("event query", "constants.event_query_call")),
    (r"cu(da)?DeviceSynchronize", Family("wait for the device", "constants.wake_device")),
    (r"cu(da)?(Event|Stream)Synchronize", Family("wait for a step", "constants.wake_spin")),
    (r"enter stream", Family("enter stream", "engine.framework.by_kind.stream")),
    (r"", REST),
)
SERVER = ("receive", "schedule", "prepare", "process")


@cache
def kernel_family(name: str) -> Family:
    """Of a kernel."""
    return _first(KERNELS, name)


@cache
def copy_family(name: str) -> Family:
    """Of a copy by an engine."""
    return _first(COPIES, name)


@cache
def host_family(name: str) -> Family:
    """Of a host thread's span."""
    if name in SERVER:
        return Family(name, f"engine.host.{name}")
    return _first(CALLS, name)


def _first(table: tuple[tuple[str, Family], ...], name: str) -> Family:
    return next(family for pattern, family in table if re.match(pattern, name))
