"""Programs: parameters, bodies of graphs, names of events."""

from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario
from scenarios.ops import Graph, Matmul, Sync, walk
from scenarios.program import Program


def loaded(path: Path, *overrides: str) -> Program:
    scenario = load_scenario(path, overrides).scenario
    assert isinstance(scenario, Program)
    return scenario


def complaints(bench: Path, ops: str) -> list[str]:
    """Return what is wrong with a thread of these ops, "--set: threads[0].ops" left out."""
    with pytest.raises(ScenarioError) as caught:
        load_scenario(bench / "program.toml", [f"threads=[{{ops={ops}}}]"])
    return [str(problem).removeprefix("--set: threads[0].ops") for problem in caught.value.problems]


def test_parameters_become_integers_and_follow_overrides(bench: Path) -> None:
    expected = (
        Graph(op="graph", replays=3, ops=(Matmul(op="matmul", m=1, n=64, k=64),)),
        Sync(op="sync", on="device"),
    )
    assert loaded(bench / "program.toml").threads[0].ops == expected
    chain = loaded(bench / "program.toml", "n=128", "count=7").threads[0].ops[0]
    assert isinstance(chain, Graph)
    assert (chain.replays, chain.ops[0]) == (7, Matmul(op="matmul", m=1, n=128, k=128))


def test_a_parameter_that_nobody_sets_is_named_where_it_is_used(bench: Path) -> None:
    (bench / "program.toml").write_text((bench / "program.toml").read_text().replace("count = 3\n", ""))
    with pytest.raises(ScenarioError) as caught:
        loaded(bench / "program.toml")
    expected = "an integer of at least 1, or 'n' or 'count' if the file sets it"
    assert [f"{problem.path}: {problem.message}" for problem in caught.value.problems] == [
        f"threads[0].ops[0].replays: found 'count', expected {expected}"
    ]


def test_a_bad_parameter_is_reported_once(bench: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        loaded(bench / "program.toml", "n=0")
    assert str(caught.value) == "--set: n: found 0, expected an integer of at least 1"


def test_unknown_ops_and_keys_are_all_reported(bench: Path) -> None:
    ops = '[{op="mull"}, {on="device"}, 3, {op="add", elements=1, strem="x"}, {op="copy", bytes="0B"}]'
    kinds = "'matmul', 'add', 'sleep', 'copy', 'record', 'wait_event', 'sync', 'think', 'repeat' or 'graph'"
    assert complaints(bench, ops) == [
        f"[0]: found op 'mull', expected a table whose op is {kinds}",
        f"[1]: found a table without op, expected a table whose op is {kinds}",
        f"[2]: found 3, expected a table whose op is {kinds}",
        "[3].strem: unknown key; did you mean 'threads[0].ops[3].stream'?",
        "[4].direction: missing, expected 'h2d', 'd2h' or 'd2d'",
        "[4].bytes: found '0B', expected a whole number of bytes with a unit, such as '16KiB'",
    ]


def test_a_graph_holds_nothing_that_waits_on_the_host_however_deep(bench: Path) -> None:
    inner = '{op="sync", on="device"}, {op="think", duration="1us"}, {op="graph", ops=[{op="add", elements=1}]}'
    pageable = '{op="copy", direction="h2d", bytes="1B", pinned=false}'
    ops = f'[{{op="graph", ops=[{{op="repeat", times=2, ops=[{inner}]}}, {pageable}]}}]'
    only = "expected only kernels, pinned copies, events and repeats inside a graph"
    assert complaints(bench, ops) == [
        f"[0].ops[0].ops[0]: found op 'sync', {only}",
        f"[0].ops[0].ops[1]: found op 'think', {only}",
        f"[0].ops[0].ops[2]: found op 'graph', {only}",
        f"[0].ops[1]: found a pageable h2d copy, {only}",
    ]


def test_events_that_nobody_records_are_refused(bench: Path) -> None:
    ops = '[{op="record", event="a"}, {op="wait_event", event="b"}, {op="sync", on="c"}]'
    assert complaints(bench, ops) == [
        "[1].event: found 'b', expected an event that an op records ('a')",
        "[2].on: found 'c', expected 'device', or an event that an op records ('a')",
    ]


def test_no_event_is_called_as_the_whole_device(bench: Path) -> None:
    assert complaints(bench, '[{op="record", event="device"}]') == [
        "[0].event: found 'device', expected another name: 'device' is the whole device"
    ]


def test_an_event_of_one_thread_may_be_awaited_by_another(bench: Path) -> None:
    threads = '[{name="a", ops=[{op="record", event="e"}]}, {name="b", ops=[{op="sync", on="e"}]}]'
    assert [thread.name for thread in loaded(bench / "program.toml", f"threads={threads}").threads] == [
        "a",
        "b",
    ]


def test_two_threads_of_one_name_are_refused(bench: Path) -> None:
    thread = '{ops=[{op="think", duration="1us"}]}'
    with pytest.raises(ScenarioError, match=r"threads\[1\].name: found 'main', expected a name no other thread has"):
        loaded(bench / "program.toml", f"threads=[{thread}, {thread}]")


def test_a_walk_meets_every_op_with_its_place(bench: Path) -> None:
    places = [(place, op.op) for place, op in walk(loaded(bench / "program.toml").threads[0].ops)]
    assert places == [((0,), "graph"), ((0, "ops", 0), "matmul"), ((1,), "sync")]
