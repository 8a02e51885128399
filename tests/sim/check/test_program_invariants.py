"""Every invariant of programs bites on a run broken by hand, and none cries wolf at random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from check_worlds import busy_threads, changed, find, one_stream, two_ranks, two_streams, without
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.check.attacks import Strict, attack_machine, same
from sim.check.invariant import BrokenError, Evidence
from sim.check.programs import PROGRAMS
from sim.check.strategies.programs import FRAMEWORK, Program, constants, loop, programs
from sim.check.strategies.teams import Team, neighbours, teams
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import Copy, Record, Replay
from sim.timeline.spans import Spans

Break = Callable[[Evidence], Evidence]


def shifted(name: str, number: int, by: int) -> Break:
    def shift(evidence: Evidence) -> Evidence:
        row = find(evidence, name, number)
        _, start, end, *_ = evidence.timeline.table[row].tolist()
        return changed(evidence, row, start=start + by, end=end + by)

    return shift


def longer(name: str, number: int, by: int) -> Break:
    def stretch(evidence: Evidence) -> Evidence:
        row = find(evidence, name, number)
        return changed(evidence, row, end=int(evidence.timeline.table[row, 2]) + by)

    return stretch


def hurried(evidence: Evidence) -> Evidence:
    table = evidence.timeline.table.copy()
    table[:, 1:3] = table[:, 1:3].clip(max=100)
    return replace(evidence, timeline=replace(evidence.timeline, spans=Spans.of(evidence.timeline.names, table)))


BROKEN: tuple[tuple[str, Callable[[], Evidence], Break, str], ...] = (
    ("events-are-honoured", two_streams, shifted("side", 0, -30), "which it waits for"),
    ("one-replay-at-a-time", two_streams, shifted("a", 1, -30), "still runs"),
    ("one-copy-an-engine", two_streams, shifted("Memcpy DtoH (Pinned)", 1, -9), "still runs"),
    ("graph-dependencies", one_stream, shifted("b", 0, -1), "its dependencies allow"),
    ("graph-dependencies", one_stream, shifted("b", 0, 1), "its dependencies allow"),
    ("work-keeps-its-length", one_stream, longer("k", 0, 1), "launched 1 pieces of [20] ns, and [21] ns ran"),
    ("work-keeps-its-length", two_streams, longer("k", 0, -1), "launched 1 pieces of [20] ns, and [19] ns ran"),
    ("work-keeps-its-length", one_stream, lambda e: without(e, find(e, "b")), "2 pieces of [9, 7] ns, and [9] ns ran"),
    ("work-keeps-its-length", two_streams, longer("side", 0, 40), "ran 36 ns by itself"),
    ("one-interpreter", busy_threads, hurried, "hold the interpreter lock for 180 of 100 ns"),
    ("collectives-meet", two_ranks, longer("collective c", 0, -1), "2 of 2 ranks may leave at"),
    ("collectives-meet", two_ranks, lambda e: without(e, find(e, "collective c", 1)), "1 of 2 ranks may leave at"),
    ("calls-take-their-time", busy_threads, longer("cudaLaunchKernel", 0, -40), "was due to return at"),
    ("calls-take-their-time", one_stream, longer("cudaGraphLaunch", 0, -1), "was due to return at 12 ns"),
    ("calls-take-their-time", two_streams, longer("cudaLaunchKernel", 4, -1), "was due to return at"),
    ("no-pause", one_stream, shifted("cudaDeviceSynchronize", 0, 1), "starts after a pause that began at 12 ns"),
)


@pytest.mark.parametrize(
    ("name", "world", "hand", "sentence"), BROKEN, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(BROKEN)]
)
def test_a_broken_run_is_told(name: str, world: Callable[[], Evidence], hand: Break, sentence: str) -> None:
    assert not PROGRAMS.broken(world())
    told = [str(v) for v in PROGRAMS.broken(hand(world()), [name])]
    assert any(sentence in text for text in told), told


def test_every_invariant_is_broken_by_one_of_them() -> None:
    assert set(PROGRAMS) == {name for name, *_ in BROKEN}


def test_a_witness_knows_what_each_entry_waits_for() -> None:
    entries = two_streams().entries
    assert entries is not None
    (replay, again) = (entry for entry in entries if isinstance(entry.op, Replay))
    (copy, _) = (entry for entry in entries if isinstance(entry.op, Copy))
    (side,) = (entry for entry in entries if entry.stream == (0, "side") and entry.takes_a_slot and entry is not copy)
    assert side.waits[:2] == (copy, replay)
    assert [entry.op for entry in side.waits[2:]] == [Record("e")]
    assert len(replay.spans) == len(again.spans) == 2


def test_without_operations_nothing_is_asked() -> None:
    assert not PROGRAMS.broken(replace(shifted("side", 0, -30)(two_streams()), entries=None))


@settings(max_examples=120)
@given(st.one_of(programs(), neighbours()), constants())
def test_any_program_on_any_machine_holds_and_is_the_same_again(program: Program, machine: Constants) -> None:
    attack_machine(lambda: {"host": loop(program)}, HostCosts(machine, FRAMEWORK))


@settings(max_examples=60)
@given(teams(), constants())
def test_any_ranks_and_threads_hold_and_are_the_same_again(team: Team, machine: Constants) -> None:
    attack_machine(
        lambda: {name: loop(program) for name, program in team.programs.items()},
        HostCosts(machine, FRAMEWORK),
        team.ranks,
    )


def test_nothing_is_booked_for_the_past() -> None:
    with pytest.raises(BrokenError, match="monotone-clocks: at 0 ns something is booked for -1 ns"):
        Strict().call_at(-1, print)


def test_two_runs_that_differ_are_told() -> None:
    with pytest.raises(BrokenError, match=r"span 1 is .* in one run and .* in the other"):
        same("determinism", one_stream().timeline, shifted("cudaGraphLaunch", 0, 1)(one_stream()).timeline)
    with pytest.raises(BrokenError, match="differ in their tracks"):
        same("determinism", one_stream().timeline, two_streams().timeline)
