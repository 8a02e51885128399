"""A user's own policy, by module and name."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving_worlds import tiny_open

from scenarios.errors import ScenarioError
from sim.studies.serving import ServingRun

OWN = '''
from sim.serving.policies import Plan


class Solo:
    """One prompt a step, and never two requests at once."""

    def __init__(self):
        self.asked = 0

    def __call__(self, queues, budget):
        self.asked += 1
        if queues.num_running or not queues.waiting:
            return Plan()
        return Plan(((queues.waiting[0], queues.left(queues.waiting[0])),), decode=False)


def greedy(queues, budget):
    return Plan(tuple((request, queues.left(request)) for request in queues.waiting))


def alone(queues):
    return Plan()


def silent(queues, budget):
    pass


NUMBER = 7


class Needs:
    def __init__(self, something):
        pass
'''


def run_with(policy: str, *more: str) -> ServingRun:
    return ServingRun.of(tiny_open(f"engine.policy={policy}", *more))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_policy_of_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own")
def test_a_class_in_the_current_directory_decides() -> None:
    run = run_with("own_policy_of_a_test:Solo", "workload.rate=100000/s", "workload.requests=5")
    timeline = run.timeline("overlap-graph")
    assert len(timeline.served) == 5
    assert {d.rows for d in timeline.deliveries} == {1}


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_policy_of_a_test:Nobody", "has no attribute 'Nobody'"),
        ("no_such_module_anywhere:Any", "No module named 'no_such_module_anywhere'"),
        ("own_policy_of_a_test:Needs", "missing 1 required positional argument"),
        ("own_policy_of_a_test:NUMBER", "no callable of (queues, budget)"),
        ("own_policy_of_a_test:alone", "no callable of (queues, budget)"),
    ],
)
def test_a_policy_that_cannot_be_asked_is_refused(name: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=r"engine\.policy: found '") as refused:
        run_with(name).timeline("serial-eager")
    assert message in str(refused.value)


@pytest.mark.usefixtures("own")
def test_a_plan_above_its_budget_is_refused_with_the_policys_name() -> None:
    run = run_with("own_policy_of_a_test:greedy", "workload.rate=100000/s", "workload.requests=9", "engine.max_batch=2")
    with pytest.raises(
        ScenarioError, match=r"engine\.policy: the policy chose \d prompts of .* the budget is Budget\("
    ):
        run.timeline("serial-eager")


@pytest.mark.usefixtures("own")
def test_an_answer_that_is_no_plan_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"engine\.policy: the policy answered None, expected a Plan"):
        run_with("own_policy_of_a_test:silent").timeline("serial-eager")


def test_a_name_that_is_none_is_refused_before_anything_is_imported() -> None:
    with pytest.raises(ScenarioError, match=r"engine\.policy: found 'nothing', expected module:Class"):
        tiny_open("engine.policy=nothing")


def test_chunks_beside_decode_rows_need_a_budget_for_all_of_them() -> None:
    run = ServingRun.of(tiny_open("engine.batching=mixed", "engine.chunked_prefill=true", "engine.token_budget=255"))
    with pytest.raises(ScenarioError, match=r"engine\.token_budget: found 255, expected at least 256, the most rows"):
        run.timeline("serial-eager")
