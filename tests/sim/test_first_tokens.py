"""The parts of a first token's time, in a world of one prompt whose every time is known."""

from __future__ import annotations

from collections.abc import Callable

from sim.effects import Loop, Phase
from sim.loops import overlap_loop, serial_loop
from sim.machine.machine import Machine
from sim.program.calls import HostCosts
from sim.program.constants import Constants
from sim.program.ops import STEP, Copy, Kernel, Op, Record
from sim.serving.kv_cache import KVCache
from sim.serving.request import Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server
from sim.serving.source import RequestSource
from sim.studies.reasons import reasons
from sim.timeline.first_tokens import FirstTokens
from sim.timeline.spans import Timeline


def lower(phase: Phase) -> list[tuple[str, list[Op]]]:
    del phase
    return [("schedule", [Copy("h2d", 3)]), ("forward", [Kernel("forward", "bare", 1_000), Record(STEP)])]


def run(loop: Callable[[Server], Loop[None]]) -> Timeline:
    """Two prompts, the second of which arrives while the first computes; launching takes 10, scheduling 30."""
    server = Server(Scheduler(KVCache(64, 16)))
    work = {"schedule": (30, 0, 0), "process": (40, 0, 0)}
    costs = HostCosts(Constants(launch_call=10), work=work)
    source = RequestSource([Request(0, 4, 1, arrival=0), Request(1, 4, 1, arrival=5)])
    return Machine(costs, lower).run({"host": loop(server)}, source)


def test_a_serial_server_takes_the_second_prompt_when_it_is_done_with_the_first() -> None:
    timeline = run(serial_loop)
    # 0: schedule to 30, launch to 40, device to 1040, process to 1080; 1: scheduled by 1110, device 1120 to 2120
    assert [s.first for s in timeline.served] == [1_080, 2_160]
    assert FirstTokens.of(timeline) == FirstTokens((30 + 1_105) / 2, 10, 1_000, 40)


def test_overlap_takes_it_earlier_and_lets_it_wait_behind_the_first() -> None:
    timeline = run(overlap_loop)
    # 1: scheduled by 70, launched by 80, device 1040 to 2040; 0 is processed from 1040 to 1080
    assert [s.first for s in timeline.served] == [1_080, 2_080]
    assert FirstTokens.of(timeline) == FirstTokens((30 + 65) / 2, (10 + 970) / 2, 1_000, 40)


def test_a_sentence_says_what_overlap_changes() -> None:
    timelines = {"serial-eager": run(serial_loop), "overlap-eager": run(overlap_loop)}
    (sentence,) = reasons(timelines, {"serial-eager": 0.925})
    assert sentence == (
        "overlap-eager against serial-eager: first tokens come 0.04 us sooner: 0.52 us less for a schedule, "
        "0.48 us more behind what was launched before; as many steps for the same tokens; 7.5% of serial-eager's time "
        "is there to be filled"
    )
    assert reasons({"overlap-eager": timelines["overlap-eager"]}, {}) == []


def test_a_run_without_spans_has_no_parts() -> None:
    timeline = run(serial_loop)
    bare = Machine(HostCosts(Constants())).run({})
    assert FirstTokens.of(bare) is None
    assert FirstTokens.of(timeline) is not None
