"""The loops, as the order of their effects: what each waits for, and when."""

from __future__ import annotations

from typing import Any

import pytest

from sim.effects import OVERLAP_PARTS, SERIAL_PARTS, Arrivals, Emit, Host, Launch, Loop, Phase, Receive, Step, Wait
from sim.loops import naive_loop, overlap_loop, serial_loop
from sim.serving.batch import Batch, StepResult
from sim.serving.kv_cache import KVCache
from sim.serving.request import Reason, Request
from sim.serving.scheduler import Scheduler
from sim.serving.server import Server


class ListMachine:
    """Answers a loop's effects from lists, without time.

    ``arrivals`` has what each receive returns, and the source closes with the last of them; ``stops`` who stopped in
    which step. ``log`` has the effects in order, by name and step; ``phases`` and ``emitted`` what they carried.
    """

    def __init__(self, arrivals: list[tuple[Request, ...]], stops: dict[int, tuple[int, ...]] | None = None) -> None:
        self.arrivals = arrivals
        self.stops = stops or {}
        self.log: list[str] = []
        self.phases: list[Phase] = []
        self.emitted: list[Emit] = []

    def run(self, loop: Loop[None]) -> list[str]:
        answer: Any = None
        try:
            while True:
                answer = self.answer(loop.send(answer))
        except StopIteration:
            return self.log

    def answer(self, effect: object) -> Any:
        match effect:
            case Receive(block):
                self.log.append("receive, idle" if block else "receive")
                requests = self.arrivals.pop(0) if self.arrivals else ()
                return Arrivals(0, requests, closed=not self.arrivals)
            case Host(name, work, batch):
                result = work()
                about = batch or (result if isinstance(result, Batch) else None)
                self.log.append(f"{name} {'nothing' if about is None else about.index}")
                return result
            case Launch(Phase(batch) as phase, "forward"):
                self.log.append(f"launch {batch.index}")
                self.phases.append(phase)
                return Step(batch.index, batch)
            case Wait(Step(index), "spin"):
                self.log.append(f"wait {index}")
                return StepResult(0, self.stops.get(index, ()))
            case Emit(outputs):
                self.log.append(f"emit {outputs.batch.index}")
                self.emitted.append(effect)
                return None
        raise AssertionError(f"unexpected {effect}")


def server(*, foresee_length: bool = True) -> Server:
    return Server(Scheduler(KVCache(64), foresee_length=foresee_length))


def request(number: int, *, max_tokens: int) -> Request:
    return Request(number, context=5, max_tokens=max_tokens)


def test_the_serial_loop_waits_for_each_step_before_it_schedules_the_next() -> None:
    machine = ListMachine([(request(0, max_tokens=2),)])
    assert machine.run(serial_loop(server())) == [
        "receive, idle", "schedule 0", "prepare 0", "launch 0", "wait 0", "process 0", "emit 0",
        "receive", "schedule 1", "prepare 1", "launch 1", "wait 1", "process 1", "emit 1",
        "receive, idle",
    ]  # fmt: skip
    assert [(p.parts, p.sync_each) for p in machine.phases] == [(SERIAL_PARTS, False)] * 2


def test_the_overlap_loop_launches_a_step_before_it_processes_the_one_before() -> None:
    machine = ListMachine([(request(0, max_tokens=3),)])
    assert machine.run(overlap_loop(server())) == [
        "receive, idle", "schedule 0", "prepare 0", "launch 0",
        "receive", "schedule 1", "prepare 1", "launch 1", "wait 0", "process 0", "emit 0",
        "receive", "schedule 2", "prepare 2", "launch 2", "wait 1", "process 1", "emit 1",
        "receive", "schedule nothing", "wait 2", "process 2", "emit 2",
        "receive, idle",
    ]  # fmt: skip
    assert [(p.parts, p.sync_each) for p in machine.phases] == [(OVERLAP_PARTS, False)] * 3


def test_the_naive_loop_is_serial_and_waits_for_every_operation() -> None:
    naive, serial = (ListMachine([(request(0, max_tokens=2),)]) for _ in range(2))
    assert naive.run(naive_loop(server())) == serial.run(serial_loop(server()))
    assert [(p.parts, p.sync_each) for p in naive.phases] == [(SERIAL_PARTS, True)] * 2


@pytest.mark.parametrize("loop", [naive_loop, serial_loop, overlap_loop])
def test_a_loop_ends_when_its_source_has_closed_and_nothing_is_left(loop: Any) -> None:
    assert ListMachine([()]).run(loop(server())) == ["receive, idle"]
    machine = ListMachine([(), (request(0, max_tokens=1),)])
    assert machine.run(loop(server()))[:2] == ["receive, idle", "schedule nothing"]
    assert machine.log[-2:] == ["emit 0", "receive, idle"]


@pytest.mark.parametrize("loop", [serial_loop, overlap_loop])
def test_a_loop_waits_idle_for_a_source_that_is_still_open(loop: Any) -> None:
    machine = ListMachine([(request(0, max_tokens=1),), (), (request(1, max_tokens=1),)])
    machine.run(loop(server()))
    assert [(r.id, n) for emit in machine.emitted for r, n, _ in emit.outputs.finished] == [(0, 1), (1, 1)]


def test_the_serial_loop_sees_a_stop_at_once_and_the_overlap_loop_one_row_late() -> None:
    late = {}
    for loop in (serial_loop, overlap_loop):
        machine = ListMachine([(request(0, max_tokens=9),)], stops={1: (0,)})
        machine.run(loop(server()))
        late[loop] = [(e.outputs.tokens, e.outputs.late) for e in machine.emitted]
        assert [f[1:] for e in machine.emitted for f in e.outputs.finished] == [(2, Reason.STOP)]
    assert late == {serial_loop: [(1, 0), (1, 0)], overlap_loop: [(1, 0), (1, 0), (0, 1)]}


@pytest.mark.parametrize(("foresee_length", "num_late"), [(True, 0), (False, 3)])
def test_the_overlap_loop_runs_one_row_over_each_length_it_does_not_foresee(
    *, foresee_length: bool, num_late: int
) -> None:
    machine = ListMachine([tuple(request(i, max_tokens=i + 2) for i in range(3))])
    machine.run(overlap_loop(server(foresee_length=foresee_length)))
    assert sum(e.outputs.late for e in machine.emitted) == num_late
    assert sum(e.outputs.tokens for e in machine.emitted) == 2 + 3 + 4


def test_a_request_that_arrives_while_a_step_is_in_flight_is_prefilled_in_the_next() -> None:
    machine = ListMachine([(request(0, max_tokens=3),), (request(1, max_tokens=3),)])
    machine.run(overlap_loop(server()))
    rows = [[r.id for r in p.batch.members] for p in machine.phases]
    assert rows == [[0], [1], [0, 1], [0, 1]]
