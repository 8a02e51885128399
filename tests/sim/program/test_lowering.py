"""A step of an engine as operations: which stream, in which order, as kernels or as one graph."""

from __future__ import annotations

from typing import Any

import pytest

from scenarios.loader import load_engine, load_model, load_profile
from scenarios.model import TimerModel
from sim.effects import OVERLAP_PARTS, SERIAL_PARTS, Part, Phase
from sim.program.durations import Durations
from sim.program.lowering import TimerLowering, TransformerLowering
from sim.program.ops import STEP, Copy, Kernel, Op, Record, Replay, Think, WaitEvent, num_kernels
from sim.serving.batch import Batch, Chunk
from sim.serving.batch import Phase as BatchPhase
from sim.serving.buckets import Buckets
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server

TINY = load_model("tiny")
LEAN = load_engine("lean")
DURATIONS = Durations(load_profile("nvidia-h200"))
DECODE_KERNELS = 1 + 11 * TINY.layers + 2  # embedding, layers, final norm and logits


def decode_batch(rows: int, *, context: int = 100, bucket: int | None = None) -> Batch:
    return Batch(7, BatchPhase.DECODE, rows, rows, rows * context, (), bucket=bucket, counter=1)


def prefill_batch(*prompts: int) -> Batch:
    chunks = tuple(Chunk(Request(i, length, 1), 0, length, 1) for i, length in enumerate(prompts))
    return Batch(7, BatchPhase.PREFILL, len(chunks), sum(prompts), 0, (), prompts=chunks)


def lower(
    batch: Batch, parts: tuple[Part, ...] = SERIAL_PARTS, *, free_slots: bool = False, **engine: Any
) -> list[tuple[str, list[Op]]]:
    preset = LEAN.model_copy(update=engine)
    lowering = TransformerLowering(TINY, preset, DURATIONS, free_slots=free_slots)
    return [(stream, list(ops)) for stream, ops in lowering(Phase(batch, parts))]


def short(op: Op) -> str:
    """An operation in a word."""
    match op:
        case Kernel(name) | Think(_, name):
            return name
        case Replay(executable, graph):
            return f"replay {executable} of {len(graph.kernels)}"
        case Copy(direction, _, nbytes):
            return f"{direction} {nbytes}"
        case Record(event):
            return f"record {event}"
        case WaitEvent(event):
            return f"wait {event}"
    raise AssertionError(op)


def words(pieces: list[tuple[str, list[Op]]]) -> list[tuple[str, list[str]]]:
    return [(stream, [short(op) for op in ops]) for stream, ops in pieces]


def device_ns(pieces: list[tuple[str, list[Op]]]) -> int:
    kernels = [op for _, ops in pieces for op in ops if isinstance(op, Kernel)]
    inside = [k for _, ops in pieces for op in ops if isinstance(op, Replay) for k in op.graph.kernels]
    return sum(k.ns for k in kernels + inside)


def test_a_serial_step_keeps_to_one_stream() -> None:
    assert words(lower(decode_batch(4, bucket=4))) == [
        ("forward", ["h2d 180", f"replay ('decode', 4) of {DECODE_KERNELS}", "argmax", "d2h 32", f"record {STEP}"])
    ]


def test_an_overlap_step_stages_inputs_and_copies_back_on_streams_of_their_own() -> None:
    assert words(lower(decode_batch(4, bucket=4), OVERLAP_PARTS)) == [
        ("schedule", ["enter stream", "h2d 180", "record inputs"]),
        (
            "forward",
            ["wait inputs", "resolve", f"replay ('decode', 4) of {DECODE_KERNELS}", "argmax", "store",
             "record sampled"],
        ),
        ("copy", ["enter stream", "wait sampled", "d2h 32", f"record {STEP}"]),
    ]  # fmt: skip


def test_an_engine_without_a_copy_stream_copies_back_on_the_forward_stream() -> None:
    (_, (forward, ops)) = words(lower(decode_batch(4, bucket=4), OVERLAP_PARTS, copy_stream="forward"))
    assert (forward, ops[-3:]) == ("forward", ["store", "d2h 32", f"record {STEP}"])


def test_inputs_can_take_several_copies_or_none() -> None:
    ((_, ops),) = words(lower(decode_batch(4), input_copies=3))
    assert [op for op in ops if op.startswith("h2d")] == ["h2d 60"] * 3
    streams = [stream for stream, _ in lower(decode_batch(4), OVERLAP_PARTS, input_copies=0)]
    assert streams == ["forward", "copy"]


def test_free_slots_leave_resolve_and_store_out_and_nothing_else() -> None:
    paid, free = (words(lower(decode_batch(4), OVERLAP_PARTS, free_slots=f)) for f in (False, True))
    assert free == [(stream, [op for op in ops if op not in ("resolve", "store")]) for stream, ops in paid]
    assert free != paid


def test_sampling_can_be_a_part_of_the_graph() -> None:
    ((_, ops),) = words(lower(decode_batch(4, bucket=4), sample_in_graph=True))
    assert ops == ["h2d 180", f"replay ('decode', 4) of {DECODE_KERNELS + 1}", "d2h 32", f"record {STEP}"]


def test_late_sampling_is_launched_apart_from_the_forward_pass() -> None:
    assert words(lower(decode_batch(4, bucket=4), ("forward",))) == [
        ("forward", [f"replay ('decode', 4) of {DECODE_KERNELS}"])
    ]
    assert words(lower(decode_batch(4, bucket=4), ("sample", "copy"))) == [
        ("forward", ["argmax", "d2h 32", f"record {STEP}"])
    ]


@pytest.mark.parametrize("parts", [SERIAL_PARTS, OVERLAP_PARTS])
def test_eager_and_graph_run_the_same_kernels(parts: tuple[Part, ...]) -> None:
    eager, graph = (lower(decode_batch(4, bucket=b), parts) for b in (None, 4))
    assert [num_kernels(ops) for _, ops in eager] == [num_kernels(ops) for _, ops in graph]
    assert device_ns(eager) == device_ns(graph)


def test_padding_rows_cost_like_rows_that_attend_to_one_token() -> None:
    padded = lower(decode_batch(5, context=100, bucket=64))
    full = Batch(7, BatchPhase.DECODE, 64, 64, 5 * 100 + 59, (), bucket=64, counter=1)
    assert device_ns(padded) == device_ns(lower(full))
    assert device_ns(padded) > device_ns(lower(decode_batch(5, context=100, bucket=5)))
    back = [op for _, ops in padded for op in ops if isinstance(op, Copy) and op.direction == "d2h"]
    assert [copy.bytes for copy in back] == [5 * 8]


@pytest.mark.parametrize(("rows", "bucket", "launches"), [(4, 4, 1), (3, 4, 1), (5, None, DECODE_KERNELS)])
def test_a_batch_above_the_largest_bucket_is_eager(rows: int, bucket: int | None, launches: int) -> None:
    server = Server(Scheduler(KVCache(64)), Buckets([1, 2, 4]))
    server.add(tuple(Request(i, 5, 3, computed=True) for i in range(rows)))
    batch = server.schedule()
    assert batch is not None
    server.prepare(batch)
    assert batch.bucket == bucket
    ((_, ops),) = lower(batch, ("forward",))
    assert len(ops) == launches
    assert all(isinstance(op, Replay) == (bucket is not None) for op in ops)


def test_a_prefill_is_eager_and_has_one_attention_kernel_a_layer_for_all_prompts() -> None:
    ((_, ops),) = words(lower(prefill_batch(100, 50), ("forward",)))
    assert ops.count("prefill_attention") == TINY.layers
    assert ops[-2:] == ["last_tokens", "lm_head"]


def test_prompts_bring_their_rows_and_three_numbers_each_and_no_pages() -> None:
    assert [op for op in words(lower(prefill_batch(100, 50)))[0][1] if op.startswith("h2d")] == ["h2d 3024"]
    overlapped = dict(words(lower(prefill_batch(100, 50), OVERLAP_PARTS)))["forward"]
    assert overlapped[:3] == ["wait inputs", "resolve", "store"]


def test_decode_rows_and_a_piece_of_a_prompt_share_a_step() -> None:
    piece = Chunk(Request(9, 300, 1), 64, 100, 0)
    batch = Batch(7, BatchPhase.MIXED, 4, 103, 3 * 50, (), prompts=(piece,), counter=1)
    (stream, ops) = lower(batch)[0]
    names = [short(op) for op in ops]
    rows, decode, prompt, read = 103 * 20, 3 * (20 + 8) + 4 * 10, 12, 4 * (64 + 100)
    assert (stream, names[0]) == ("forward", f"h2d {rows + decode + prompt + read}")
    attention = [name for name in names if name in ("decode_attention", "combine", "prefill_attention")]
    assert attention == ["decode_attention", "combine", "prefill_attention"] * TINY.layers
    assert names.count("gather_keys") == names.count("gather_values") == TINY.layers
    assert names[-4:-1] == ["lm_head", "argmax", "d2h 32"]


def test_a_timer_step_is_one_kernel_and_its_event() -> None:
    model = TimerModel.model_validate({"kind": "timer", "step": "1ms", "per_row": "2us"})
    phase = Phase(decode_batch(3))
    (forward, (kernel, record)), *rest = TimerLowering(model, scale=2.0)(phase)
    assert (forward, kernel, record, rest) == ("forward", Kernel("timer", "sleep", 2_012_000), Record(STEP), [])


def test_a_step_with_prompts_replays_graphs_between_its_attention_kernels() -> None:
    lowering = TransformerLowering(TINY, load_engine("vllm-v1"), DURATIONS)
    batch = prefill_batch(20)
    ((_, eager),) = lowering(Phase(batch))
    batch.pieces = 40
    ((_, ops),) = lowering(Phase(batch))
    replays = [op for op in ops if isinstance(op, Replay)]
    launched = [op.name for op in ops if isinstance(op, Kernel)]
    assert [op.executable for op in replays] == [("piece", 40, i) for i in range(TINY.layers + 1)]
    assert launched == ["prefill_attention"] * TINY.layers + ["argmax"]
    flat = [kernel for op in ops for kernel in (op.graph.kernels if isinstance(op, Replay) else [op])]
    plain = [op for op in eager if isinstance(op, Kernel)]
    assert [k.name for k in flat if isinstance(k, Kernel)] == [k.name for k in plain]
    flops = [next(k.flops for k in kernels if k.name == "qkv_proj") for kernels in (replays[0].graph.kernels, plain)]
    assert flops[0] / flops[1] == 48 / 32  # 40 and 20 tokens in tiles of 16


def test_a_short_prompt_takes_fewer_launches_in_pieces_and_a_long_one_stays_eager() -> None:
    server = Server(Scheduler(KVCache(64, 16)), pieces=Buckets([8, 16]))
    pieces = []
    for number, context in enumerate((5, 16, 17)):
        server.add((Request(number, context, 1),))
        batch = server.schedule()
        assert batch is not None
        server.prepare(batch)
        pieces.append(batch.pieces)
    assert pieces == [8, 16, None]
