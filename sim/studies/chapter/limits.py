"""Claims about when graphs do not pay: variable lengths, changing batches, memory."""

from __future__ import annotations

from sim.program.decode_prices import PAGE
from sim.studies.buckets.memory import GraphMemory
from sim.studies.buckets.study import AT_THE_END_OF_TIME, BucketStudy, Judged
from sim.studies.chapter.claim import Claim, Finding, Verdict
from sim.studies.chapter.lab import Lab
from sim.studies.chapter.overlap import phases_of
from sim.studies.chapter.words import listed
from sim.studies.step_prices import StepPrices
from sim.studies.table import time
from sim.timeline.metrics import pace

SECTION = "When not to use CUDA graphs"
VLLM_GRAPHS = 0.96 * 2**30
"""Bytes that vLLM reported for its captured graphs, in a log of some model ("18 s, 0.96 GiB")."""
CHAT = 400
"""Requests of the chat service whose prompts are counted by length."""


def _variable_lengths(lab: Lab) -> Finding:
    prompts = lab.run("azure-conversation", f"workload.requests={CHAT}").requests().take(AT_THE_END_OF_TIME)
    lengths = len({request.context for request in prompts})
    prefill = phases_of(lab, "lean", "serial-eager")["prefill"]
    return Finding(
        predicted=f"{CHAT} prompts of a chat service have {lengths} lengths; a prefill step exposes "
        f"{time(prefill.exposed / 1000)} of its host ({prefill.share:.1%}) beside "
        f"{time(prefill.busy / 1000)} of device work",
        verdict=Verdict.of([lengths > CHAT / 2, prefill.share < 0.01]),
        because="there is a graph for few of these shapes, and next to nothing that it could save",
        numbers={"lengths": lengths, "share": prefill.share},
    )


def judged_lists(lab: Lab) -> dict[str, Judged]:
    """The workload of changing batches with several lists of buckets, replayed in a serial loop."""
    run = lab.run("limits-changing-batch")
    study = BucketStudy(run, "serial-graph")
    lists = {"the engine's 35": run.buckets, "only 64": (64,), "up to 16": (1, 2, 4, 8, 16)}
    return {name: study.judge(name, sizes, run) for name, sizes in lists.items()}


def _changing_batches(lab: Lab) -> Finding:
    found = judged_lists(lab)
    eager = lab.modes("limits-changing-batch")["serial-eager"]["tpot_mean_us"]
    told = {
        name: f"{time(j.tpot_mean / 1000)} ({j.padding:.0%} padding, {j.eager:.0%} of steps eager)"
        for name, j in found.items()
    }
    return Finding(
        predicted=f"TPOT {time(eager)} without graphs; with buckets: {listed(told)}",
        verdict=Verdict.of([j.tpot_mean / 1000 > eager for j in found.values()]),
        because="buckets hold any batch; what padding costs depends on the list, and above it every step is eager",
        numbers={"eager_us": eager} | {f"{name}_us": j.tpot_mean / 1000 for name, j in found.items()},
    )


def tokens_per_s(lab: Lab, mode: str, blocks: int) -> float:
    """Throughput of the 8B model beside a cache of so many blocks."""
    run = lab.run("limits-graph-memory", f"engine.kv_blocks={blocks}")
    return pace(run.timeline(mode, spans=False), closed=False).tokens_per_s


def blocks_lost(lab: Lab) -> dict[str, int]:
    """Blocks of the cache that graphs take, of this project's engine and of vLLM's."""
    run = lab.run("limits-graph-memory")
    shape, nodes = run.model, StepPrices(run, "serial-graph", 1024).nodes()
    held = {"this engine's": GraphMemory.of(shape, nodes).of_list(run.buckets), "vLLM's": VLLM_GRAPHS}  # type: ignore[arg-type]
    block = PAGE * shape.kv_bytes_per_token  # type: ignore[union-attr]
    return {name: int(-(-nbytes // block)) for name, nbytes in held.items()}


def _memory(lab: Lab) -> Finding:
    room = lab.run("limits-graph-memory").engine.kv_blocks
    assert room is not None
    lost = blocks_lost(lab)
    served = {"no graphs": tokens_per_s(lab, "overlap-eager", room)}
    served |= {f"{name} graphs": tokens_per_s(lab, "overlap-graph", room - blocks) for name, blocks in lost.items()}
    told = {name: f"{rate:,.0f} tokens/s" for name, rate in served.items()}
    plain = served["no graphs"]
    return Finding(
        predicted=f"of {room} blocks on a card of 24 GB {listed({n: str(b) for n, b in lost.items()})} are lost: "
        f"{listed(told)}",
        verdict=Verdict.of([rate < plain for name, rate in served.items() if name != "no graphs"]),
        because="blocks that graphs hold serve nobody, which counts where the cache is what limits the batch",
        numbers={f"{name}_tokens_per_s": rate for name, rate in served.items()}
        | {f"{name}_blocks": blocks for name, blocks in lost.items()},
    )


CLAIMS = (
    Claim(
        "variable-lengths", SECTION, "Not for variable sequence lengths, as in prefill",
        "overlapsim breakdown decode-llama-3.1-8b --set workload.rate=30/s --set workload.requests=24 "
        "--set workload.output_tokens=1 --set engine.modes=serial-eager,overlap-eager",
        _variable_lengths,
    ),
    Claim(
        "changing-batches", SECTION, "Not for dynamic batch sizes, as requests finish",
        "overlapsim buckets limits-changing-batch --mode serial-graph --graphs 4", _changing_batches,
    ),
    Claim(
        "memory", SECTION, "Not where memory is short: graphs consume memory",
        "overlapsim breakdown limits-graph-memory --vary engine.kv_blocks=2640,2586,2148", _memory,
    ),
)  # fmt: skip
