"""One server on several ranks: what each computes, when they wait for each other, and what graphs change about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import load_model, load_profile, load_scenario
from sim.cli import main
from sim.effects import DEVICE, Launch, Loop, Phase, Wait
from sim.loops import overlap_loop, serial_loop
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.durations import Durations
from sim.program.lowering import decode_graph
from sim.program.ops import Collective, Graph, Kernel, Op, Replay, Think
from sim.program.tensor_parallel import Links, ParallelTransformer, sharded
from sim.program.transformer import Transformer, Work
from sim.studies.results import run_all
from sim.studies.serving import ServingRun
from sim.timeline.metrics import pace, step_metrics
from sim.timeline.skew import collective_wait
from sim.timeline.spans import Timeline

MODES = ("serial-eager", "serial-graph", "overlap-eager", "overlap-graph")
SMALL = ["model=tiny", "workload.batch=4", "workload.output_tokens=14", "workload.context=20"]
O = TypeVar("O", bound=Op)  # noqa: E741  an operation


def ranked(*overrides: str, ranks: int = 2) -> ServingRun:
    sets = [*SMALL, f"tensor_parallel.ranks={ranks}", *overrides]
    return ServingRun.of(load_scenario("decode-qwen3-0.6b", sets))


def kernel(name: str, ns: int) -> Kernel:
    return Kernel(name, "bare", ns)


def spans(timeline: Timeline, rank: int) -> list[tuple[str, int, int]]:
    rows = timeline.on_track(f"main (rank {rank})" if rank else "main")
    return [(name, int(row[1]), int(row[2])) for name, row in zip(timeline.span_names(rows), rows, strict=True)]


def run_ranks(*programs: list[Op], **constants: int) -> Timeline:
    def rank(ops: list[Op]) -> Loop[None]:
        yield Launch(ops, "main")
        yield Wait(DEVICE)

    threads = {f"rank {number}": rank(ops) for number, ops in enumerate(programs)}
    ranks = {name: number for number, name in enumerate(threads)}
    return Machine(HostCosts(Constants(**constants))).run(threads, ranks=ranks)


def test_what_ended_before_the_window_is_not_waited_for_in_it() -> None:
    reduce = Collective("sum", 2, 40)
    timeline = run_ranks(
        [kernel("a", 100), reduce, kernel("b", 100), reduce], [kernel("a", 300), reduce, kernel("b", 150), reduce]
    )
    assert collective_wait(timeline, (0, 530), 1) == (200 + 50) / 2
    assert collective_wait(timeline, (340, 530), 1) == 50 / 2  # the first ends at 340
    assert collective_wait(timeline, (0, 529), 1) == 200 / 2


def replay(first: int, last: int) -> Replay:
    return Replay("graph", Graph((kernel("a", first), Collective("sum", 2, 40), kernel("z", last))))


def test_a_collective_in_a_graph_starts_when_the_slowest_rank_arrives() -> None:
    timeline = run_ranks([replay(100, 10)], [replay(300, 20)], graph_gap=5)
    assert spans(timeline, 0) == [("a", 0, 100), ("collective sum", 105, 345), ("z", 350, 360)]
    assert spans(timeline, 1) == [("a", 0, 300), ("collective sum", 305, 345), ("z", 350, 370)]
    assert collective_wait(timeline, (0, 370), 1) == 100  # one rank waits for 200, the other for none


def test_a_late_launch_of_one_graph_holds_up_the_other_rank_once_and_of_kernels_at_each_collective() -> None:
    """Three collectives; rank 1 thinks for 1,000 before a graph, or for 1,000 before every kernel."""
    node = (kernel("a", 100), Collective("sum", 2, 40))
    graph = Replay("graph", Graph(node * 3))
    once = run_ranks([graph], [Think(1_000), graph])
    assert collective_wait(once, (0, 10_000), 1) == 1_000 / 2
    each = run_ranks([*node * 3], [op for _ in range(3) for op in (Think(1_000), *node)])
    assert collective_wait(each, (0, 10_000), 1) == (1_000 + 2 * (1_000 - 140)) / 2


@pytest.mark.parametrize("kernels", [(Collective("sum", 2, 40),), (Collective("sum", 2, 40), kernel("a", 1))])
def test_a_graph_cannot_begin_with_a_collective(kernels: tuple[Kernel | Collective, ...]) -> None:
    with pytest.raises(ValueError, match="a chain that does not begin with one"):
        Graph(kernels)


def test_every_rank_holds_its_slice() -> None:
    whole = load_model("llama-3.1-8b")
    part = sharded(whole, 4)
    assert (part.heads, part.kv_heads, part.intermediate, part.vocab) == (8, 2, 3584, 32064)
    assert part.kv_bytes_per_token * 4 == whole.kv_bytes_per_token
    norms = whole.hidden * (2 * whole.layers + 1)
    assert (part.num_parameters - norms) * 4 == whole.num_parameters - norms
    with pytest.raises(ValueError, match=r"kv_heads \(8\) of llama-3.1-8b cannot be shared out evenly"):
        sharded(whole, 16)


def test_a_collective_takes_its_latency_and_the_traffic_of_a_ring() -> None:
    links = Links(4, 1_000, 10**9)  # a byte takes a nanosecond
    assert links.all_reduce(800) == Collective("all-reduce", 4, 1_000 + 2 * 3 * 200)
    assert links.all_gather(800) == Collective("all-gather", 4, 1_000 + 3 * 200)


@pytest.mark.parametrize("grain", ["engine", "pytorch"])
def test_a_rank_sums_up_after_embedding_attention_and_mlp_and_gathers_the_logits(grain: str) -> None:
    shape, durations = load_model("tiny"), Durations(load_profile("nvidia-h200"))
    work = Work(8, 8, rows=8, context=160)
    one, part = Transformer(shape, durations, grain), ParallelTransformer(shape, Links(2, 0, 10**9), durations, grain)
    nodes = part.forward(work).kernels
    names = [node.name for node in nodes]
    before = [names[i - 1] for i, node in enumerate(nodes) if isinstance(node, Collective)]
    assert before == ["embedding", *["o_proj", "down_proj"] * shape.layers, "lm_head"]
    sums = [node.ns for node in nodes if isinstance(node, Collective)]
    assert sums == [8 * 64 * 2] * (1 + 2 * shape.layers) + [8 * 512 * 2 // 2]
    assert [n.name for n in nodes if isinstance(n, Kernel)] == [k.name for k in one.forward(work).kernels]
    flops, whole = (
        sum(k.flops for k in p.kernels if isinstance(k, Kernel)) for p in (part.forward(work), one.forward(work))
    )
    assert flops * 2 == whole
    assert part.sample(8) == one.sample(8)


def alone(op: O) -> O:
    """An operation whose collectives wait for nobody."""
    if isinstance(op, Collective):
        return replace(op, ranks=1)
    if isinstance(op, Replay):
        return replace(op, graph=Graph(tuple(alone(node) for node in op.graph.kernels)))
    return op


@pytest.mark.parametrize("mode", MODES)
def test_equal_hosts_wait_for_what_handing_a_batch_over_takes_and_for_nothing_else(mode: str) -> None:
    """A follower begins to prepare once it has received the batch, in serial graph mode the last thing before a step.

    Otherwise rank 0 launches for longer than that after the last collective, or the device is behind anyway.
    """
    run = ranked()

    def lower(phase: Phase) -> list[tuple[str, list[Op]]]:
        return [(stream, [alone(op) for op in ops]) for stream, ops in run.lowering()(phase)]

    loop = (serial_loop if mode.startswith("serial") else overlap_loop)(run.server(mode))
    machine = Machine(run.costs(), lower)
    single = machine.run({"scheduler": loop}, run.requests(), warm=[decode_graph(b) for b in run.buckets])
    received = run.costs().work_ns("receive", 0, 0)
    several = run.timeline(mode)
    assert pace(several).step_ns == pace(single).step_ns + (received if mode == "serial-graph" else 0)
    assert [s.tokens for s in several.served] == [s.tokens for s in single.served]
    assert step_metrics(several).launches == step_metrics(single).launches
    assert step_metrics(several).kernels == step_metrics(single).kernels


def waits(mode: str, ranks: int) -> float:
    """Nanoseconds a step that a rank waits for the others where host times scatter."""
    shape = load_model("tiny").model_copy(update={"kv_heads": 4})
    timeline = replace(ranked("host.jitter=true", ranks=ranks), model=shape).timeline(mode)
    found = step_metrics(timeline)
    return collective_wait(timeline, found.window, found.steps)


def test_hosts_that_jitter_wait_at_each_collective_or_once_a_graph_and_more_of_them_for_longer() -> None:
    assert waits("serial-eager", 2) > 3 * waits("serial-graph", 2) > 0
    assert waits("serial-eager", 4) > waits("serial-eager", 2)


def test_requests_that_come_and_go_are_all_served_by_all_ranks() -> None:
    sets = ["workload.rate=4000/s", "workload.requests=9", "workload.output_tokens=5"]
    run = ServingRun.of(
        load_scenario("decode-qwen3-0.6b", ["model=tiny", "workload.context=20", *sets, "tensor_parallel.ranks=2"])
    )
    timeline = run.timeline("overlap-graph")
    assert sorted(s.request for s in timeline.served) == list(range(9))
    kernels = [np.count_nonzero(timeline.on_track(name)[:, 3] == 0) for name in ("forward", "forward (rank 1)")]
    assert kernels[0] == kernels[1]


@pytest.mark.parametrize(
    "engine",
    [
        ["preset=vllm-v1-async"], ["preset=vllm-v0-multistep"], ["preset=tensorrt-llm"], ["preset=chapter"],
        ["preset=sglang", "host.mask.base=50us"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["serial-graph", "overlap-eager"])
def test_every_loop_but_a_launching_thread_s_runs_on_ranks(engine: list[str], mode: str) -> None:
    """The followers launch, in as many phases, the kernels that rank 0 launches."""
    timeline = ranked(*(f"engine.{knob}" for knob in engine)).timeline(mode)
    assert sorted((s.request, s.tokens) for s in timeline.served) == [(number, 14) for number in range(4)]
    kernels = [np.count_nonzero(timeline.on_track(name)[:, 3] == 0) for name in ("forward", "forward (rank 1)")]
    assert kernels[0] == kernels[1] > 0


def test_memory_is_shared_out() -> None:
    blocks = [ranked("model=llama-3.1-8b", ranks=n).server("serial-eager").scheduler.kv.num_blocks for n in (1, 2)]
    assert blocks[1] > 2 * blocks[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tensor_parallel.ranks=16"], "kv_heads (8) of qwen3-0.6b cannot be shared out evenly"),
        (['model={kind="timer", step="1ms"}', "tensor_parallel.ranks=2"], "a timer cannot be shared out"),
        (["engine.preset=sglang-v0.4", "tensor_parallel.ranks=2"], "sglang-v0.4 launches from a thread of its own"),
    ],
)
def test_what_cannot_be_spread_over_ranks_says_why(overrides: list[str], message: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        run_all(load_scenario("decode-qwen3-0.6b", ["workload.output_tokens=2", *overrides]))
    assert "tensor_parallel.ranks: found " in str(refused.value)
    assert message in str(refused.value)


def test_several_ranks_are_simulated_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "decode-qwen3-0.6b", "--set", "tensor_parallel.ranks=2", "--on", "emulated"]) == 2
    assert "tensor_parallel.ranks: found 2, expected 1 on emulated" in capsys.readouterr().err
