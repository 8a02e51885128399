"""The stateful machine drives a server through anything, and finds a scheduler that forgets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from sim.check.invariant import BrokenError
from sim.check.strategies.servers import AnyServer
from sim.serving.batch import Batch, Outputs, StepResult
from sim.serving.kv_cache import KVCache
from sim.serving.scheduler import Scheduler

TestAnyServer = AnyServer.TestCase
TestAnyServer.settings = settings(max_examples=80, stateful_step_count=40)


class Forgetful(Scheduler):
    """Ends a request again when its stop comes twice."""

    def process(self, batch: Batch, result: StepResult) -> Outputs:
        for number in result.stopped:
            if number in self._rows:
                self._rows[number].finished = False
        return super().process(batch, result)


class ForgetfulServer(AnyServer):
    def scheduler(self, kv: KVCache, **knobs: Any) -> Scheduler:
        return Forgetful(kv, **knobs)


def test_a_stop_that_is_processed_twice_is_found() -> None:
    quick = settings(max_examples=300, database=None, phases=(Phase.generate,), derandomize=True)
    with pytest.raises((BrokenError, KeyError)):
        run_state_machine_as_test(ForgetfulServer, settings=quick)
