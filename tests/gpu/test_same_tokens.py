"""The same requests get the same tokens in every mode, which is what makes the modes comparable."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any
from weakref import ref

import pytest

torch = pytest.importorskip("torch")

from gpu.model.meta import PAGE  # noqa: E402
from gpu.session import open_session  # noqa: E402
from scenarios.errors import ScenarioError  # noqa: E402
from scenarios.loader import load_scenario  # noqa: E402
from scenarios.model import ModelShape  # noqa: E402
from sim.studies.serving import ServingRun  # noqa: E402

MODES = ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")
SCENARIO = ("model=tiny", "workload.output_tokens=12", "engine.buckets=[2, 4, 8]")
CLOSED = ("workload.batch=5", "workload.context=40")
STOPPING = (*CLOSED, "workload.stop_share=0.6")
OPEN = (
    "workload.rate=400/s",
    "workload.requests=9",
    "workload.context=23",
    "engine.max_batch=4",
    "workload.stop_share=0.5",
)
ASKING = (
    "workload.clients=1",
    "workload.requests=9",
    "workload.context=14",
    "workload.output_tokens={kind='uniform',low=1,high=40}",
)
MIXED = (*OPEN, "engine.batching=mixed")
CHUNKED = (*OPEN, "engine.chunked_prefill=true", "engine.token_budget=7")
MIXED_CHUNKS = (*MIXED, "engine.chunked_prefill=true", "engine.token_budget=9", "engine.ordering=shortest-first")
MODEL_KINDS = ("tiny", "with query and key norms", "with a bias")


def tokens(
    sets: tuple[str, ...],
    mode: str,
    device: str,
    *,
    capture: bool = True,
    preempted: bool = False,
    cached: bool = False,
    **shape: Any,
) -> dict[int, list[int]]:
    """What each request received; without ``capture`` graph modes run padded to their buckets, eagerly."""
    from gpu.engine.build import TorchRun

    run = ServingRun.of(load_scenario("decode-llama-3.1-8b", [*SCENARIO, *sets]))
    if shape:
        run = type(run)(**{**vars(run), "model": run.model.model_copy(update=shape)})
    torch_run = TorchRun.of(run, device, dtype=torch.float32)
    torch_run.capture = capture
    timeline = torch_run.run(mode)
    assert torch_run.inputs is not None
    assert any(d.preempted for d in timeline.deliveries) == preempted
    assert any(d.cached for d in timeline.deliveries) == cached
    return {s.request: torch_run.inputs.sampled[s.request][: s.tokens] for s in timeline.served}


@pytest.mark.parametrize("sets", [CLOSED, STOPPING, OPEN], ids=["closed", "stopping", "open"])
@pytest.mark.parametrize("shape", [{}, {"qk_norm": True}, {"qkv_bias": True}], ids=MODEL_KINDS)
def test_every_mode_gives_the_tokens_of_serial_eager_on_a_cpu(sets: tuple[str, ...], shape: dict[str, Any]) -> None:
    expected = tokens(sets, "serial-eager", "cpu", **shape)
    assert len({str(row) for row in expected.values()}) == len(expected)
    for mode in MODES[1:]:
        assert tokens(sets, mode, "cpu", **shape) == expected


def test_a_client_who_asks_for_more_the_next_time_gets_the_same_tokens() -> None:
    """The table of a row's blocks holds the longest request of all, not of those that come first."""
    sets = (*SCENARIO, *ASKING)
    asked = ServingRun.of(load_scenario("decode-llama-3.1-8b", sets)).requests().everything()
    pages = [-(-(request.context + request.max_tokens + 1) // PAGE) for request in asked]
    assert pages[0] < max(pages)
    assert tokens(ASKING, "overlap-graph", "cpu") == tokens(ASKING, "serial-eager", "cpu")


@pytest.mark.parametrize(
    ("sets", "modes"),
    [(MIXED, MODES[::3]), (CHUNKED, MODES[::3]), (MIXED_CHUNKS, MODES)],
    ids=["mixed", "chunked", "both"],
)
def test_prompts_in_pieces_and_beside_decode_rows_give_the_tokens_of_whole_ones(
    sets: tuple[str, ...], modes: tuple[str, ...]
) -> None:
    expected = tokens(OPEN, "serial-eager", "cpu", qk_norm=True)
    for mode in modes:
        assert tokens(sets, mode, "cpu", qk_norm=True) == expected
    assert tokens((*sets, "engine.future_map=request-slot"), "overlap-graph", "cpu", qk_norm=True) == expected


@pytest.mark.parametrize("chunks", [(), MIXED_CHUNKS[-4:]], ids=["whole", "chunks"])
def test_requests_that_lose_their_blocks_compute_the_tokens_they_would_have(chunks: tuple[str, ...]) -> None:
    long = (*OPEN, "workload.output_tokens=40", "workload.stop_share=0.0", "workload.requests=5")
    expected = tokens(long, "serial-eager", "cpu", qk_norm=True)
    for mode in MODES[::3]:
        pressed = (*long, "engine.kv_reservation=grow", "engine.kv_blocks=7", *chunks)
        assert tokens(pressed, mode, "cpu", preempted=True, qk_norm=True) == expected


def test_prompts_that_begin_alike_are_computed_once_and_get_their_tokens() -> None:
    alike = ("workload.rate=400/s", "workload.requests=6", "workload.context=540", "engine.max_batch=3")
    alike = (*alike, "workload.shared_prefix.groups=2", "workload.shared_prefix.tokens=512")
    expected = tokens(alike, "serial-eager", "cpu")
    assert len({str(row) for row in expected.values()}) == len(expected)
    for mode in MODES[::3]:
        assert tokens((*alike, "engine.prefix_cache=true"), mode, "cpu", cached=True) == expected


@pytest.mark.parametrize("sets", [CLOSED, STOPPING, OPEN], ids=["closed", "stopping", "open"])
def test_a_slot_a_request_gives_the_same_tokens_as_a_ring(sets: tuple[str, ...]) -> None:
    expected = tokens(sets, "serial-eager", "cpu")
    assert tokens((*sets, "engine.future_map=request-slot"), "overlap-graph", "cpu") == expected


LOOPS = ("late-sampling", "forward-thread", "graphs-or-overlap")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("sets", [CLOSED, STOPPING, OPEN, MIXED], ids=["closed", "stopping", "open", "mixed"])
def test_the_loops_of_other_engines_give_the_same_tokens(sets: tuple[str, ...], loop: str) -> None:
    expected = tokens(sets, "serial-eager", "cpu")
    for future_map in ("ring", "request-slot"):
        own = (*sets, f"engine.overlap.loop={loop}", f"engine.future_map={future_map}")
        assert tokens(own, "overlap-graph", "cpu") == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("engine.overlap.loop=multi-step", "overlaps by multi-step, its inputs on the schedule stream; for real there"),
        ("engine.overlap.loop=output-thread", "for real there is run-ahead, graphs-or-overlap, late-sampling, forward"),
        ("engine.overlap.input_stream=forward", "its inputs on the forward stream; for real"),
        ("engine.piecewise=[16]", "captures prompts in pieces, which is simulated only"),
        ("engine.host.mask.base=1ms", "masks are simulated only"),
    ],
)
def test_what_is_simulated_only_is_refused(change: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        tokens((*CLOSED, change), "overlap-graph", "cpu")


@pytest.mark.parametrize("mode", ["serial-eager", "overlap-graph"])
def test_pages_that_go_from_one_request_to_the_next_change_no_token(mode: str) -> None:
    expected = tokens(OPEN, "serial-eager", "cpu")
    few = (*OPEN, "engine.kv_blocks=5")  # a request needs three
    assert tokens(few, mode, "cpu") == expected


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mode", ["overlap-eager", "overlap-graph"])
def test_the_loops_of_other_engines_give_the_same_tokens_on_a_gpu(mode: str, loop: str) -> None:
    sets = (*OPEN, "engine.buckets=[4, 8]")
    own = (*sets, f"engine.overlap.loop={loop}")
    assert tokens(own, mode, "cuda", head_dim=64) == tokens(sets, "serial-graph", "cuda", head_dim=64)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("sets", [CLOSED, STOPPING, OPEN], ids=["closed", "stopping", "open"])
@pytest.mark.parametrize("shape", [{"head_dim": 64}, {"head_dim": 64, "qk_norm": True}], ids=MODEL_KINDS[:2])
def test_every_mode_gives_the_tokens_of_serial_graph_on_a_gpu(sets: tuple[str, ...], shape: dict[str, Any]) -> None:
    buckets = (*sets, "engine.buckets=[4, 8]")
    expected = tokens(buckets, "serial-graph", "cuda", **shape)
    for mode in ("serial-graph", "overlap-graph"):
        assert tokens(buckets, mode, "cuda", capture=False, **shape) == expected
    for form in ("ring", "request-slot"):
        assert tokens((*buckets, f"engine.future_map={form}"), "overlap-graph", "cuda", **shape) == expected


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_graphs_are_captured_over_a_small_cache_whatever_eager_steps_have_left() -> None:
    from gpu.engine.build import TorchRun

    run = ServingRun.of(load_scenario("decode-llama-3.1-8b", [*SCENARIO, *OPEN, "engine.kv_blocks=5"]))
    assert isinstance(run.model, ModelShape)
    assert run.model.vocab > 6 * PAGE  # a prompt's token, taken for a slot, lies outside of the cache
    run = replace(run, model=run.model.model_copy(update={"head_dim": 64}))
    torch_run = TorchRun.of(run, "cuda", dtype=torch.float32)
    for mode in MODES:
        assert len(torch_run.run(mode).served) == 9


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_in_bf16_modes_part_at_near_ties_only_on_a_gpu() -> None:
    from gpu.engine.build import TorchRun
    from gpu.near_ties import near_ties
    from gpu.tokens import received

    sets = ["model=qwen3-0.6b", "workload.batch=13", "workload.context=300", "workload.output_tokens=100"]
    run = TorchRun.of(ServingRun.of(load_scenario("decode-llama-3.1-8b", [*sets, "engine.buckets=[64]"])), "cuda")
    margins, found = {}, {}
    for mode in MODES:
        timeline, margins[mode] = run.margins(mode)
        found[mode] = received(run.sampled() or {}, timeline)
    judged = near_ties(margins, found)
    assert judged.others == []
    largest = max(first for mode in margins.values() for row in mode.values() for first, _ in row)
    assert judged.noise < 0.05 * largest


def test_a_closed_session_gives_its_weights_back_at_once() -> None:
    """The next configuration of a suite asks for memory before anything else is collected."""
    sets = ["model=tiny", "workload.rate=500/s", "workload.requests=2", "workload.context=20"]
    sets += ["workload.output_tokens=2", "engine.token_budget=16", "engine.max_batch=4"]
    session = open_session(load_scenario("chunked-prefill", sets), "cpu")
    session.run("overlap-graph")
    weights = ref(session.weights.embedding)  # type: ignore[attr-defined]
    gc.disable()
    try:
        session.close()
        assert weights() is None
    finally:
        gc.enable()
