"""Two simulated timelines that differ by one constant part, and that constant is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scenarios.loader import load_scenario
from scenarios.profile import Profile
from sim.studies.serving import ServingRun
from sim.studies.validation.families import kernel_family
from sim.studies.validation.parting import Parting, first_parting
from sim.timeline.spans import Kind, Place, Recorder, Timeline

SMALL = ("workload.output_tokens=14", "workload.batch=4", "engine.buckets=[4]")


def run(model: str = "llama-3.2-1b") -> ServingRun:
    return ServingRun.of(load_scenario("decode-llama-3.1-8b", (f"model={model}", *SMALL)))


def with_constant(name: str, ns: int) -> ServingRun:
    base = run()
    return replace(base, constants=replace(base.constants, **{name: ns}))


def with_kernel(kind: str, factor: float) -> ServingRun:
    base = run()
    cost = base.profile.kernels[kind]
    table = tuple(
        t.model_copy(update={"points": tuple((rows, round(ns * factor)) for rows, ns in t.points)}) for t in cost.table
    )
    slower = cost.model_copy(update={"floor": round(cost.floor * factor), "table": table})
    profile: Profile = base.profile.model_copy(update={"kernels": {**base.profile.kernels, kind: slower}})
    return replace(base, profile=profile)


def with_framework(kind: str, ns: int) -> ServingRun:
    base = run()
    framework = base.engine.framework
    changed = framework.model_copy(update={"by_kind": {**framework.by_kind, kind: ns}})
    return replace(base, engine=base.engine.model_copy(update={"framework": changed}))


def with_host(part: str, ns: int) -> ServingRun:
    base = run()
    cost = getattr(base.engine.host, part).model_copy(update={"base": ns})
    host = base.engine.host.model_copy(update={part: cost})
    return replace(base, engine=base.engine.model_copy(update={"host": host}))


PERTURBED = {
    "kernels.gemm": (lambda: with_kernel("gemm", 1.1), ("serial-graph", "overlap-graph")),
    "kernels.norm": (lambda: with_kernel("norm", 2.0), ("serial-graph", "overlap-graph")),
    "kernels.attention_decode": (lambda: with_kernel("attention_decode", 2.0), ("serial-graph", "overlap-graph")),
    "kernels.sample": (lambda: with_kernel("sample", 5.0), ("serial-graph", "overlap-graph")),
    "constants.graph_gap": (lambda: with_constant("graph_gap", 900), ("serial-graph", "overlap-graph")),
    "constants.wake_spin": (lambda: with_constant("wake_spin", 90_000), ("serial-eager", "serial-graph")),
    "constants.graph_launch_call": (lambda: with_constant("graph_launch_call", 90_000), ("serial-graph",)),
    "constants.launch_call": (lambda: with_constant("launch_call", 9_000), ("serial-eager", "overlap-eager")),
    "constants.launch_latency": (lambda: with_constant("launch_latency", 20000), ("serial-eager",)),
    "constants.copy_call": (lambda: with_constant("copy_call", 90_000), ("serial-eager", "serial-graph")),
    "constants.event_record_call": (lambda: with_constant("event_record_call", 90_000), ("serial-graph",)),
    "engine.framework.by_kind.gemm": (lambda: with_framework("gemm", 30_000), ("serial-eager", "overlap-eager")),
    "engine.framework.by_kind.attention": (lambda: with_framework("attention", 9_000), ("serial-eager",)),
    "engine.host.schedule": (lambda: with_host("schedule", 300_000), ("serial-eager", "serial-graph")),
    "engine.host.prepare": (lambda: with_host("prepare", 300_000), ("overlap-eager", "serial-graph")),
    "engine.host.process": (lambda: with_host("process", 300_000), ("serial-eager", "serial-graph")),
    "engine.host.receive": (lambda: with_host("receive", 300_000), ("serial-eager", "serial-graph")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("constant", "mode"), [(name, mode) for name, (_, modes) in PERTURBED.items() for mode in modes]
)
def test_the_one_constant_that_differs_is_named(constant: str, mode: str) -> None:
    parting = first_parting(run().timeline(mode), PERTURBED[constant][0]().timeline(mode))
    assert parting is not None
    assert parting.constant == constant


@pytest.mark.parametrize("mode", ["serial-eager", "serial-graph", "overlap-eager", "overlap-graph"])
def test_equal_timelines_do_not_part(mode: str) -> None:
    assert first_parting(run().timeline(mode), run().timeline(mode), tolerance_ns=0) is None


def world(*spans: tuple[Kind, str, int, int]) -> Timeline:
    """A program of these (kind, name, start, end), on one host thread and one stream."""
    recorder = Recorder()
    host, stream = recorder.track("main", Place.HOST_THREAD), recorder.track("main", Place.STREAM)
    for kind, name, start, end in spans:
        recorder.span(host if kind in (Kind.CALL, Kind.HOST) else stream, start, end, kind, recorder.name(name))
    return recorder.timeline()


OURS = world(
    (Kind.CALL, "cudaLaunchKernel", 0, 10),
    (Kind.KERNEL, "input_norm", 12, 20),
    (Kind.KERNEL, "decode_attention", 20, 60),
    (Kind.KERNEL, "o_proj", 60, 90),
)


def test_a_product_measured_as_two_kernels_is_one() -> None:
    theirs = world(
        (Kind.CALL, "cuLaunchKernelEx", 1000, 1010),
        (Kind.KERNEL, "_norm_kernel", 1012, 1020),
        (Kind.KERNEL, "split_kernel", 1020, 1060),
        (Kind.KERNEL, "nvjet_tst_64x8_64x16_2x1_v_bz_TNT", 1060, 1080),
        (Kind.KERNEL, "cublasLt::splitKreduce_kernel", 1082, 1095),
    )
    assert first_parting(OURS, theirs, tolerance_ns=4) == Parting("o_proj (kernels)", "takes", 5, "kernels.gemm")
    assert first_parting(OURS, theirs, tolerance_ns=5) is None


def test_a_kernel_that_was_not_measured_is_named() -> None:
    theirs = world(
        (Kind.CALL, "cudaLaunchKernel", 0, 10),
        (Kind.KERNEL, "_norm_kernel", 12, 20),
        (Kind.KERNEL, "nvjet_tst", 20, 50),
    )
    parting = first_parting(OURS, theirs)
    assert parting == Parting("decode_attention (kernels)", "missing", 0, "the lowering")
    assert str(parting) == "decode_attention (kernels) was not measured: the lowering"


def test_calls_that_were_not_told_apart_are_blamed_together() -> None:
    calls = ((Kind.CALL, "cudaMemcpyAsync", 0, 10), (Kind.CALL, "cudaLaunchKernel", 10, 40))
    ours, theirs = world(*calls), world((Kind.CALL, "launch", 100, 190))
    parting = first_parting(ours, theirs)
    assert parting == Parting("2 calls (host main)", "takes", 50, "engine.framework and the calls of constants")


def test_the_rest_of_a_profiled_launch_is_the_next_calls_time() -> None:
    ours = world((Kind.CALL, "cudaLaunchKernel", 0, 30), (Kind.CALL, "cudaLaunchKernel", 30, 60))
    theirs = world(
        (Kind.HOST, "launch", 0, 25),
        (Kind.CALL, "cudaLaunchKernel", 25, 30),
        (Kind.HOST, "launch", 30, 55),
        (Kind.CALL, "cudaLaunchKernel", 55, 60),
    )
    assert first_parting(ours, theirs, tolerance_ns=0) is None


def test_a_delay_that_no_price_explains_is_called_so() -> None:
    ours = world((Kind.KERNEL, "o_proj", 0, 10), (Kind.KERNEL, "lm_head", 10, 20))
    other = Recorder()
    main, side = (other.track(name, Place.STREAM) for name in ("main", "side"))
    other.span(main, 0, 10, Kind.KERNEL, other.name("o_proj"))
    other.span(side, 10, 90, Kind.MEMSET, other.name("Memset"))  # held up by what was not predicted
    other.span(main, 90, 100, Kind.KERNEL, other.name("lm_head"))
    parting = first_parting(ours, other.timeline(), tolerance_ns=5)
    assert parting is not None
    assert (parting.span, parting.what, parting.deviation_ns) == ("lm_head (kernels)", "starts", 80)
    assert parting.constant == "nothing that is priced alone (most: kernels.gemm)"


def test_a_sentence_says_which_way() -> None:
    assert str(Parting("lm_head (kernels)", "starts", -81_300, "kernels.gemm")) == (
        "lm_head (kernels) starts 81.3 us early: kernels.gemm"
    )


def test_every_kernel_of_the_model_has_the_family_that_prices_it() -> None:
    found = {name: kernel_family(name).priced_by for name in run().timeline("overlap-eager").names}
    assert found["silu_and_mul"] == "kernels.elementwise"
    assert found["rope"] == "kernels.rope"
    assert found["store"] == found["resolve"] == "kernels.gather"
