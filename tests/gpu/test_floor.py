"""That the step which is validated is one a serious engine would run: close to what its products and its cache take."""

from __future__ import annotations

import sys
from functools import partial

import pytest

torch = pytest.importorskip("torch")

SHARE = 1.2
"""Of the step's matrix products alone and one reading of its live cache."""


@pytest.mark.cuda
@pytest.mark.timing
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("rows", [1, 16])
def test_a_graph_step_takes_little_more_than_its_products_and_one_reading_of_its_cache(
    rows: int, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpu.calibration.clock import capture, elapsed
    from gpu.engine.build import TorchRun
    from scenarios.loader import load_scenario
    from sim.studies.serving import ServingRun
    from sim.timeline.metrics import step_metrics

    sets = [f"workload.batch={rows}", "workload.output_tokens=32", f"engine.buckets=[{rows}]"]
    loaded = load_scenario("decode-llama-3.1-8b", sets)
    run = TorchRun.of(ServingRun.of(loaded), "cuda")
    run.run("serial-graph")
    step_us = min(float(step_metrics(run.run("serial-graph"), closed=True).step_ns) for _ in range(3)) / 1000

    def products() -> None:
        for layer in run.weights.layers:
            for weight in (layer.qkv, layer.o, layer.gate_up, layer.down):
                torch.mm(of_width[weight.shape[1]], weight.t())
        torch.mm(of_width[run.weights.head.shape[1]], run.weights.head.t())

    shape = run.weights.shape
    widths = {shape.hidden, shape.q_size, shape.intermediate}
    of_width = {width: torch.randn(rows, width, dtype=torch.bfloat16, device="cuda") for width in widths}
    graph = capture(products)
    products_us = sorted(elapsed(partial(_replay, graph, 8)) / 8 for _ in range(5))[2]
    some = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(some)
    copy_us = sorted(elapsed(partial(other.copy_, some)) for _ in range(5))[2]
    context = 1024 + 16  # in the middle of the run
    cache_us = rows * context * shape.kv_bytes_per_token / (2 * some.numel() / copy_us)
    run.close()
    with capsys.disabled():
        told = f"step {step_us:.0f} us, products {products_us:.0f} us, cache {cache_us:.0f} us"
        sys.stdout.write(f"\n{rows} rows: {told}, {step_us / (products_us + cache_us):.2f} times both\n")
    assert step_us < SHARE * (products_us + cache_us)


def _replay(graph: torch.cuda.CUDAGraph, times: int) -> None:
    for _ in range(times):
        graph.replay()
