"""The KV cache gets what weights and captured graphs leave."""

from __future__ import annotations

import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario
from sim.studies.buckets.memory import BYTES_A_NODE, activations_a_row
from sim.studies.serving import ServingRun

GIB = 2**30


def run_with(*sets: str) -> ServingRun:
    return ServingRun.of(load_scenario("decode-llama-3.1-8b", sets))


def blocks(run: ServingRun, mode: str) -> int:
    return run.server(mode).scheduler.kv.num_blocks


def left(run: ServingRun, graphs: int) -> int:
    """Blocks in nine tenths of the memory without weights and so many bytes of graphs."""
    room = int(run.profile.device.memory * 0.9) - run.part.weight_bytes - graphs
    return room // (16 * run.part.kv_bytes_per_token)


def test_graphs_take_their_kernels_and_the_largest_ones_activations() -> None:
    run = run_with("engine.buckets=[1, 2, 64]")
    nodes = 1 + 11 * 32 + 2  # embedding, layers, last norm and logits
    graphs = 3 * nodes * BYTES_A_NODE + 64 * activations_a_row(run.part)
    for mode in ("serial", "overlap"):
        assert blocks(run, f"{mode}-eager") == left(run, 0)
        assert blocks(run, f"{mode}-graph") == left(run, graphs)


def test_graphs_in_pieces_take_theirs_beside_those_of_decode() -> None:
    whole, pieces = (
        run_with("engine.preset=vllm-v1", "engine.graph_memory=20MiB", "engine.buckets=[1]", *more)
        for more in (["engine.piecewise=[1]"], ["engine.piecewise=[1, 2, 3, 4, 5, 6, 7]"])
    )
    more_rows = 6 * activations_a_row(whole.part)
    assert left(whole, 0) - blocks(whole, "serial-graph") >= 2 * 20 * 2**20 // (2 * 2**20)
    assert blocks(whole, "serial-graph") - blocks(pieces, "serial-graph") == pytest.approx(
        (6 * 20 * 2**20 + more_rows) / (2 * 2**20), abs=1
    )


def test_each_bucket_takes_blocks_away() -> None:
    few, many = (run_with("engine.graph_memory=20MiB", f"engine.buckets={b}") for b in ([64], [1, 2, 4, 8, 16, 32, 64]))
    assert blocks(few, "serial-graph") - blocks(many, "serial-graph") == 6 * 20 * 2**20 // (2 * 2**20)


def test_the_largest_batch_fits_in_every_mode() -> None:
    run = run_with("engine.graph_memory=1GiB")
    a_request = -(-(run.scenario.workload.longest_context + run.scenario.workload.longest_output + 1) // 16)
    assert run.largest_batch == blocks(run, "overlap-graph") // a_request < blocks(run, "serial-eager") // a_request


def test_blocks_that_are_given_are_taken() -> None:
    assert {blocks(run_with("engine.kv_blocks=777"), mode) for mode in ("serial-eager", "serial-graph")} == {777}


def test_graphs_that_leave_no_room_are_named() -> None:
    with pytest.raises(
        ScenarioError, match=r"model: llama-3.1-8b has 15.0 GiB of weights and \d+\.\d GiB of graphs, 90%"
    ):
        run_with("engine.graph_memory=4GiB").timeline("serial-graph")
