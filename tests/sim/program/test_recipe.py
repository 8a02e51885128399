"""Programs as loops: what is launched eager and as graphs, and what a capture makes of streams and events."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from scenarios.errors import ScenarioError
from scenarios.loader import load_profile
from scenarios.ops import Ops
from sim.effects import DEVICE, Launch, Wait
from sim.program.durations import Durations
from sim.program.ops import ENTER_STREAM, Copy, Graph, Kernel, Op, Record, Replay, Think, WaitEvent
from sim.program.priced import Priced
from sim.program.recipe import Capture, Recipe

DURATIONS = Durations(load_profile("nvidia-h200"))
OPS: TypeAdapter[Any] = TypeAdapter(Ops)


def loop(*ops: dict[str, Any], graphs: bool = False, entering: int = 0) -> list[Any]:
    """The effects of a thread that does ``ops``."""
    return list(Recipe(Priced(DURATIONS, entering), graphs=graphs).loop(OPS.validate_python(list(ops))))


def sleep(us: int, stream: str = "main") -> dict[str, Any]:
    return {"op": "sleep", "duration": f"{us}us", "stream": stream}


def record(event: str, stream: str = "main") -> dict[str, Any]:
    return {"op": "record", "event": event, "stream": stream}


def wait_event(event: str, stream: str = "main") -> dict[str, Any]:
    return {"op": "wait_event", "event": event, "stream": stream}


def graph(*ops: dict[str, Any], replays: int = 1) -> dict[str, Any]:
    return {"op": "graph", "name": "g", "replays": replays, "ops": list(ops)}


def capture(*steps: tuple[str, Op]) -> Graph:
    captured = Capture("g")
    for stream, op in steps:
        captured.add(stream, op)
    return captured.graph()


def kernel(name: str) -> Kernel:
    return Kernel(name, "bare", 10)


def test_ops_of_one_stream_are_one_launch_and_the_thread_waits_for_the_device_in_the_end() -> None:
    first, second, third, last = loop(sleep(1), sleep(2), sleep(3, "side"), sleep(4))
    assert [(e.stream, [k.ns for k in e.work]) for e in (first, second, third)] == [
        ("main", [1_000, 2_000]), ("side", [3_000]), ("main", [4_000]),
    ]  # fmt: skip
    assert last == Wait(DEVICE)


def test_a_host_pays_for_every_stream_that_it_enters_after_its_first() -> None:
    ops = [sleep(1, "side"), sleep(2, "side"), record("e"), {"op": "sync", "on": "e"}, sleep(3), sleep(4, "side")]
    launches = [e for e in loop(*ops, entering=700) if isinstance(e, Launch)]
    entering = Think(700, ENTER_STREAM)
    assert [(e.stream, [op.ns if isinstance(op, Kernel) else op for op in e.work]) for e in launches] == [
        ("side", [1_000, 2_000]), ("main", [entering, Record("e")]), ("main", [3_000]), ("side", [entering, 4_000]),
    ]  # fmt: skip


def test_a_thread_that_has_just_waited_for_the_device_does_not_wait_again() -> None:
    sync = {"op": "sync", "on": "device", "how": "blocking"}
    assert loop(sleep(1), sync)[1:] == [Wait(DEVICE, "blocking")]
    assert loop(sleep(1), sync, sleep(1))[-1] == Wait(DEVICE)
    assert loop(record("e"), {"op": "sync", "on": "e"})[1:] == [Wait("e"), Wait(DEVICE)]


def test_repeats_unroll_and_thinking_is_host_time() -> None:
    think = {"op": "think", "duration": "5us"}
    (launch, _) = loop({"op": "repeat", "times": 2, "ops": [sleep(1), think]})
    assert [type(op) for op in launch.work] == [Kernel, Think] * 2


def test_a_product_does_two_operations_a_multiplication_and_moves_three_matrices() -> None:
    (launch, _) = loop({"op": "matmul", "m": 4, "n": 8, "k": 16})
    (product,) = launch.work
    assert (product.name, product.flops, product.bytes) == ("matmul 4x16x8", 1_024, 2 * (64 + 128 + 32))


def test_an_addition_moves_three_float32_vectors_and_a_copy_on_the_device_is_a_kernel() -> None:
    (launch, _) = loop({"op": "add", "elements": 100}, {"op": "copy", "direction": "d2d", "bytes": "8KiB"})
    add, copy = launch.work
    assert (add.bytes, copy.name, copy.bytes) == (1_200, "Memcpy DtoD", 16_384)
    assert copy.ns == DURATIONS.copy_on_device(8_192).ns


def test_a_graph_is_launched_op_by_op_or_once_a_replay() -> None:
    body = graph(sleep(1), sleep(2), replays=3)
    (eager, _), (replayed, _) = loop(body), loop(body, graphs=True)
    assert [k.ns for k in eager.work] == [1_000, 2_000] * 3
    (replay, *_) = replayed.work
    assert replayed.work == [replay] * 3
    assert (replay.executable, replay.graph.after) == ("g", None)
    assert [k.ns for k in replay.graph.kernels] == [1_000, 2_000]


bodies = st.lists(
    st.one_of(
        st.integers(1, 9).map(sleep),
        st.integers(1, 64).map(lambda n: {"op": "matmul", "m": n, "n": n, "k": n}),
        st.integers(1, 10**6).map(lambda n: {"op": "add", "elements": n}),
        st.just({"op": "copy", "direction": "d2d", "bytes": "64KiB"}),
    ),
    min_size=1,
    max_size=6,
)


@given(bodies, st.integers(1, 3), st.integers(1, 3))
def test_eager_and_graph_run_the_same_kernels(body: list[dict[str, Any]], times: int, replays: int) -> None:
    block = graph({"op": "repeat", "times": times, "ops": body}, replays=replays)
    found = []
    for graphs in (False, True):
        ops = [op for effect in loop(block, graphs=graphs)[:-1] for op in effect.work]
        found.append(Counter(k for op in ops for k in (op.graph.kernels if isinstance(op, Replay) else (op,))))
    assert found[0] == found[1]
    assert found[0].total() == len(body) * times * replays


def test_two_streams_fork_at_an_event_and_join_at_another() -> None:
    found = capture(
        ("main", kernel("a")),
        ("main", Record("fork")),
        ("side", WaitEvent("fork")),
        ("side", kernel("b")),
        ("main", kernel("c")),
        ("side", kernel("d")),
        ("side", Record("join")),
        ("main", WaitEvent("join")),
        ("main", kernel("e")),
    )
    assert "".join(k.name for k in found.kernels) == "abcde"
    assert found.after == ((), (0,), (0,), (1,), (2, 3))


def test_an_event_stands_for_what_was_before_it_and_not_for_what_came_after() -> None:
    found = capture(
        ("main", kernel("a")), ("main", Record("e")), ("main", kernel("b")),
        ("side", WaitEvent("e")), ("side", kernel("c")), ("side", Record("f")), ("main", WaitEvent("f")),
    )  # fmt: skip
    assert found.after == ((), (0,), (0,))


def test_a_fork_before_the_first_kernel_gives_two_roots() -> None:
    found = capture(
        ("main", Record("e")), ("side", WaitEvent("e")), ("main", kernel("a")), ("side", kernel("b")),
        ("side", Record("f")), ("main", WaitEvent("f")),
    )  # fmt: skip
    assert found.after == ((), ())


def test_a_wait_that_adds_nothing_leaves_a_chain() -> None:
    found = capture(("main", kernel("a")), ("main", Record("e")), ("main", WaitEvent("e")), ("main", kernel("b")))
    assert found.after is None


def test_a_pinned_copy_becomes_a_node_that_hardly_uses_the_multiprocessors() -> None:
    (node,) = capture(("main", Copy("h2d", 77))).kernels
    assert (node.name, node.ns, node.sm) == ("Memcpy h2d", 77, 0.001)


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        (
            [record("e"), wait_event("e", "side"), sleep(1), sleep(1, "side")],
            "graph 'g': stream 'main' does not wait for all work of the others before the end",
        ),
        (
            [sleep(1), sleep(1, "side"), record("f", "side"), wait_event("f")],
            "graph 'g': work on stream 'side' before it waits for an event recorded in the graph",
        ),
        (
            [sleep(1), record("e"), wait_event("e", "side"), sleep(1, "side"), record("f", "side"), sleep(2, "side"),
             wait_event("f")],
            "graph 'g': stream 'main' does not wait for all work of the others before the end",
        ),
        ([record("e")], "graph 'g': no kernel and no copy to capture"),
    ],
    ids=["never joined", "never forked", "joined too early", "empty"],
)  # fmt: skip
def test_what_cuda_would_not_capture_is_refused_as_a_graph_and_runs_eager(
    ops: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ScenarioError) as refused:
        loop(graph(*ops), graphs=True)
    assert str(refused.value) == message
    assert loop(graph(*ops))[-1] == Wait(DEVICE)
