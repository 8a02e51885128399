"""What happens at one instant on the device happens in any order: no shipped scenario's result depends on it."""

from __future__ import annotations

from heapq import heappush
from random import Random

import numpy as np
import pytest
from check_worlds import few_steps
from simpy import Event
from simpy.events import URGENT

from scenarios.loader import load_scenario
from scenarios.shelf import SCENARIOS
from sim.machine import machine
from sim.machine.clock import Callback, Clock
from sim.studies.results import Results, predict_modes


class Shuffled(Clock):
    """Callbacks that are due at one instant are called in an order drawn by a seed; they still go before processes."""

    seed = 0
    drawn = 0

    def __init__(self) -> None:
        super().__init__()
        self._random = Random(Shuffled.seed)

    def call_at(self, time: int, callback: Callback, value: object = None) -> None:
        event = Event(self)
        event._ok = True
        event._value = value
        event.callbacks.append(callback)
        Shuffled.drawn += 1
        heappush(self._queue, (time, URGENT, (self._random.getrandbits(32) << 64) + next(self._eid), event))


def served(name: str) -> Results:
    return predict_modes(load_scenario(name, few_steps(name)), machine="reference")


@pytest.mark.parametrize("name", SCENARIOS.names())
def test_no_result_depends_on_the_order_of_equal_times(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = served(name)
    monkeypatch.setattr(machine, "Clock", Shuffled)
    monkeypatch.setattr(Shuffled, "drawn", 0)
    for seed in range(2):
        monkeypatch.setattr(Shuffled, "seed", seed)
        shuffled = served(name)
        assert shuffled.modes == plain.modes
        for mode, timeline in plain.timelines.items():
            assert np.array_equal(shuffled.timelines[mode].table, timeline.table)
    assert Shuffled.drawn, "the clock was not the one that shuffles"
