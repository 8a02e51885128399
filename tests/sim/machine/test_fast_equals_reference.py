"""The fast machine against the reference: equal to the byte, or a refusal that names the feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import (
    EVENTS,
    FRAMEWORK,
    Piece,
    Program,
    constants,
    copies,
    kernels,
    loop,
    programs,
    small,
)

from sim.effects import DEVICE, Launch, Loop, Phase, Ready, Wait
from sim.fast.listed import OFTEN
from sim.fast.machine import FastMachine
from sim.fast.refusal import OutsideError
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Collective, Copy, Graph, Kernel, Op, Record, Replay, Think, WaitEvent
from sim.serving.batch import Batch
from sim.serving.batch import Phase as BatchPhase
from sim.timeline.spans import Timeline

QUANTILES = ((0.0, 0.4), (0.5, 1.0), (0.99, 3.7), (1.0, 20.0))
bodies = st.lists(kernels(), min_size=1, max_size=5).map(tuple)
lasting = st.builds(Kernel, st.just("k"), st.sampled_from(sorted(FRAMEWORK)), st.integers(1, 60), st.just(0.5))


def assert_equal(fast: Timeline, reference: Timeline) -> None:
    assert fast.tracks == reference.tracks
    assert fast.names == reference.names
    assert np.array_equal(fast.table, reference.table)
    assert fast.deliveries == reference.deliveries
    assert fast.served == reference.served


def both(program: Program, machine: Constants, *, jitter: int | None = None) -> None:
    """Run a program on both machines and compare; raises ``OutsideError`` when the fast one refuses."""
    host: dict[str, Any] = {} if jitter is None else {"quantiles": QUANTILES, "seed": jitter}
    costs = HostCosts(machine, FRAMEWORK, scale=1.5)
    fast = FastMachine(costs, **host).run({"host": loop(program)}, warm=("g",))
    assert_equal(fast, Machine(costs, **host).run({"host": loop(program)}, warm=("g",)))


def chains() -> st.SearchStrategy[Replay]:
    """A replay of a graph that is a chain."""
    return st.builds(Replay, st.sampled_from("gh"), st.builds(Graph, bodies))


def operations(main: st.SearchStrategy[Any]) -> st.SearchStrategy[Op]:
    """Operations of a stream, of which ``main`` ones run on the multiprocessors."""
    events = st.sampled_from(EVENTS)
    return st.one_of(
        main,
        main,
        main,
        st.builds(Record, events, st.booleans()),
        st.builds(WaitEvent, events),
        st.builds(Think, small),
    )


@st.composite
def engines(draw: st.DrawFn) -> Program:
    """Kernels, graphs and long trains on one stream, copies in one direction on each of two others, events between."""
    direction = {"side": "h2d", "third": "d2h"}
    pieces: list[Piece] = []
    for _ in range(draw(st.integers(1, 6))):
        stream = draw(st.sampled_from(("main", "main", *direction)))
        if stream == "main":
            ops = operations(st.one_of(kernels(), chains()))
            train = draw(st.lists(kernels(), max_size=30)) if draw(st.booleans()) else []
        else:
            ops, train = operations(copies().map(lambda c, to=direction[stream]: Copy(to, c.ns, 0, c.pinned))), []
        batch = (*train, *draw(st.lists(ops, max_size=6)), *train[:7])
        pieces += [Piece(Launch(batch, stream))] * draw(st.integers(1, 3))
        if draw(st.booleans()):
            target = draw(st.sampled_from(("device", *EVENTS)))
            pieces.append(Piece(Wait(target, draw(st.sampled_from(("spin", "blocking"))))))
    return (*pieces, Piece(Wait("device")))


@settings(max_examples=examples(100))
@given(program=engines(), machine=constants(), jitter=st.sampled_from((None, None, 3, 4)))
def test_one_stream_of_kernels_with_copies_on_others_is_equal(
    program: Program, machine: Constants, jitter: int | None
) -> None:
    both(program, machine, jitter=jitter)


@settings(max_examples=examples(30))
@given(program=engines(), machine=constants())
def test_programs_that_launch_the_same_again_are_straight_code_and_equal(program: Program, machine: Constants) -> None:
    both(program * (OFTEN + 3), machine)


def test_code_does_not_outlive_the_want_of_an_event() -> None:
    """A list waits for an event that nobody has recorded, until somebody has."""
    waiting = (WaitEvent("e"), Kernel("k", "add", 10))
    pieces = [*[Piece(Launch(waiting, "main"))] * (OFTEN + 2), Piece(Launch((Copy("h2d", 900), Record("e")), "side"))]
    costs = HostCosts(Constants())
    program = (*pieces, *[Piece(Launch(waiting, "main"))] * 3, Piece(Wait(DEVICE)))
    reference = Machine(costs).run({"host": loop(program)})
    assert_equal(FastMachine(costs).run({"host": loop(program)}), reference)
    assert reference.on_track("main")[-3:, 1].min() >= 900


@settings(max_examples=examples(60))
@given(program=programs(), machine=constants())
def test_any_program_is_equal_or_refused(program: Program, machine: Constants) -> None:
    try:
        both(program, machine)
    except OutsideError as error:
        assert error.feature.startswith(("kernels of streams", "copies of streams", "graphs with branches"))  # noqa: PT017


@settings(max_examples=examples(40))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("main", "side", "third")), st.lists(lasting, min_size=1, max_size=9).map(tuple)),
        min_size=1,
        max_size=5,
    ),
    machine=constants(),
)
def test_streams_that_take_turns_are_equal(steps: list[tuple[str, tuple[Kernel, ...]]], machine: Constants) -> None:
    pieces = [piece for stream, ops in steps for piece in (Piece(Launch(ops, stream)), Piece(Wait(DEVICE)))]
    both(tuple(pieces), machine)


@settings(max_examples=examples(40))
@given(ops=st.lists(operations(st.one_of(kernels(), copies(pageable=False))), max_size=8), machine=constants())
def test_polling_and_naive_steps_are_equal(ops: list[Op], machine: Constants) -> None:
    def polling() -> Loop[None]:
        yield Launch((*ops, Record("e")), "main")
        while not (yield Ready("e")):
            yield Launch((Think(5),), "main")

    def naive() -> Loop[None]:
        yield Launch(Phase(Batch(3, BatchPhase.DECODE, 1, 1, 1, ()), (), sync_each=True))

    for program in (polling, naive):
        costs = HostCosts(machine, FRAMEWORK)
        lower = lambda _: [("main", ops)]  # noqa: E731
        fast = FastMachine(costs, lower).run({"host": program()})
        assert_equal(fast, Machine(costs, lower).run({"host": program()}))


@pytest.mark.parametrize(
    ("feature", "pieces"),
    [
        ("kernels of streams 'a' and 'b' at once", [("a", Kernel("k", "add", 50)), ("b", Kernel("k", "add", 50))]),
        ("copies of streams 'a' and 'b' race for one copy engine", [("a", Copy("h2d", 9)), ("b", Copy("h2d", 9))]),
        ("graphs with branches", [("a", Replay("g", Graph((Kernel("k", "add", 1),) * 2, ((), ()))))]),
        ("collectives", [("a", Collective("sum", 1, 10))]),
    ],
)
def test_what_is_outside_is_refused_by_name(feature: str, pieces: list[tuple[str, Op]]) -> None:
    program = tuple(Piece(Launch((op,), stream)) for stream, op in pieces)
    with pytest.raises(OutsideError) as refused:
        FastMachine(HostCosts(Constants())).run({"host": loop(program)})
    assert refused.value.feature == feature


def test_several_host_threads_are_refused() -> None:
    with pytest.raises(OutsideError, match="several host threads"):
        FastMachine(HostCosts()).run({"a": loop(()), "b": loop(())})
