"""Programs on torch: what is launched, what it computes, and what cannot be."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gpu import memory  # noqa: E402
from gpu.backend import On  # noqa: E402
from gpu.machines.wall import Call  # noqa: E402
from gpu.programs.devices import Train, work_for  # noqa: E402
from gpu.programs.session import ProgramSession, merged  # noqa: E402
from gpu.programs.torch_maker import TorchMaker  # noqa: E402
from gpu.session import open_session  # noqa: E402
from scenarios import ops as recipe  # noqa: E402
from scenarios.errors import ScenarioError  # noqa: E402
from scenarios.loader import LoadedScenario, load_scenario  # noqa: E402
from scenarios.program import Program  # noqa: E402
from sim.effects import Launch, Wait  # noqa: E402
from sim.program.durations import Durations  # noqa: E402
from sim.program.ops import ENTER_STREAM, Kernel, Record, Think  # noqa: E402
from sim.program.priced import Priced  # noqa: E402
from sim.studies.program import program_metrics, run_program  # noqa: E402
from sim.timeline.spans import Kind, Place, Recorder, Timeline  # noqa: E402

SHIPPED = ("hundred-matmuls", "launch-chain", "two-streams")
SMALL = ("n=16", "count=5")
FORK = """[
  { op = "record", event = "fork" },
  { op = "wait_event", event = "fork", stream = "side" },
  { op = "add", elements = 100 },
  { op = "sleep", duration = "1ms", stream = "side" },
  { op = "copy", direction = "d2d", bytes = "1KiB", stream = "side" },
  { op = "record", event = "join", stream = "side" },
  { op = "wait_event", event = "join" },
]"""
EVERYTHING = f"""
[[threads]]
name = "one"
ops = [
  {{ op = "copy", direction = "h2d", bytes = "4KiB" }},
  {{ op = "repeat", times = 3, ops = [{{ op = "matmul", m = 8, n = 4, k = 16 }}] }},
  {{ op = "record", event = "done", timed = true }},
  {{ op = "sync", on = "done", how = "blocking" }},
  {{ op = "think", duration = "2ms" }},
  {{ op = "graph", replays = 2, ops = {FORK} }},
  {{ op = "sync", on = "device", how = "blocking" }},
]
[[threads]]
name = "two"
ops = [
  {{ op = "wait_event", event = "done", stream = "other" }},
  {{ op = "copy", direction = "d2h", bytes = "4KiB", pinned = false, stream = "other" }},
  {{ op = "add", elements = 10, stream = "other" }},
]
"""
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
ON = ["emulated", "cpu", pytest.param("cuda", marks=[pytest.mark.cuda, gpu])]
Write = Callable[[str], LoadedScenario]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A program scenario with these threads."""

    def load(threads: str) -> LoadedScenario:
        file = tmp_path / "program.toml"
        file.write_text(f'kind = "program"\ntitle = "A program"\n{threads}')
        return load_scenario(file)

    return load


def unused() -> Any:
    raise AssertionError


def counts(timeline: Timeline) -> tuple[int, int]:
    found = program_metrics(timeline)
    return found.launches, found.kernels


@pytest.mark.parametrize("on", ON[:2])
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_shipped_program_launches_and_runs_what_was_simulated(on: On, name: str, mode: str) -> None:
    loaded = load_scenario(name, SMALL)
    session = open_session(loaded, on)
    expected = counts(run_program(loaded, mode))
    assert [counts(session.run(mode)) for _ in range(2)] == [expected, expected]
    session.close()


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_every_op_of_a_program_runs_on_several_threads(write: Write, on: On, mode: str) -> None:
    loaded = write(EVERYTHING)
    timeline = open_session(loaded, on).run(mode)
    expected = run_program(loaded, mode)
    assert counts(timeline)[0] == counts(expected)[0]
    if on != "cuda":
        assert counts(timeline)[1] == counts(expected)[1]
    host = timeline.table[timeline.column("kind") == Kind.HOST]
    (thought,) = (row for row in host if timeline.names[row[4]] != ENTER_STREAM)
    assert thought[2] - thought[1] >= 2_000_000
    assert [t.name for t in timeline.tracks[:2]] == ["one", "two"]


def test_a_run_is_the_median_of_passes_that_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_scenario("launch-chain", SMALL)
    program = loaded.scenario
    assert isinstance(program, Program)
    totals = iter([90, 30, 10, 20, 40])
    passes: list[int] = []

    class Scripted(ProgramSession):
        def _pass(self, mode: str) -> Timeline:
            passes.append(next(totals))
            recorder = Recorder()
            track = recorder.track("host", Place.HOST_THREAD)
            recorder.span(track, 0, 1000 * passes[-1], Kind.CALL, recorder.name(mode))
            assert not gc.isenabled()
            return recorder.timeline()

    monkeypatch.setattr("gpu.programs.session.MOST", 5)
    timeline = Scripted(program, Priced(Durations(loaded.profile)), unused).run("eager")
    assert passes == [90, 30, 10, 20, 40]
    assert program_metrics(timeline).total_ns == 20_000  # of 10, 20 and 40: the first two of five warmed up


def test_launches_in_a_row_are_made_in_one_go_and_waits_stay_between_them() -> None:
    kernels = [Kernel(str(number), "bare", 1) for number in range(4)]
    a, b, c, d = kernels
    found = merged([Launch([a]), Launch([b, c], "side"), Wait("e"), Launch([d], "side")])
    assert [(e.work, e.stream) if isinstance(e, Launch) else e.on for e in found if isinstance(e, Launch | Wait)] == [
        ([a, b, c], "forward"),
        "e",
        ([d], "side"),
    ]


def maker(write: Write, ops: str) -> TorchMaker:
    program = write(f"[[threads]]\nops = {ops}").scenario
    assert isinstance(program, Program)
    return TorchMaker(program, "program.toml", "cpu")


def test_a_product_multiplies_in_bfloat16_and_what_is_repeated_works_on_the_same_tensors(write: Write) -> None:
    made = maker(write, "[{ op = 'matmul', m = 8, n = 4, k = 16 }]")
    op = recipe.Matmul(op="matmul", m=8, n=4, k=16)
    bound: Any = made.operation(op)
    a, b = bound.run.args
    assert (a.dtype, tuple(a.shape), tuple(b.shape)) == (torch.bfloat16, (8, 16), (16, 4))
    assert torch.equal(bound.run(), a @ b)
    assert made.operation(op) is bound
    assert made.operation(op.model_copy(update={"stream": "side"})) is not bound


def test_an_addition_adds_float32_and_a_copy_copies_bytes(write: Write) -> None:
    made = maker(write, "[{ op = 'add', elements = 5 }]")
    add: Any = made.operation(recipe.Add(op="add", elements=5))
    x, y = add.run.args
    assert torch.equal(add.run(), x + y)
    assert x.dtype == torch.float32
    copy: Any = made.operation(recipe.Copy(op="copy", direction="d2h", bytes="3KiB"))
    (source,) = copy.run.args
    source.fill_(7)
    assert copy.run().tolist() == [7] * 3072


def test_a_capture_that_would_fail_says_so_before_anything_runs(write: Write) -> None:
    unjoined = FORK.replace('{ op = "wait_event", event = "join" },', "")
    session = open_session(write(f"[[threads]]\nops = [{{ op = 'graph', ops = {unjoined} }}]"), "cpu")
    assert session.run("eager").on_device.any()
    with pytest.raises(ScenarioError, match="graph 'graph': stream 'main' does not wait for all work of the others"):
        session.run("graph")


def test_tensors_that_do_not_fit_are_refused_before_any_is_made(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError

    monkeypatch.setattr(memory, "free_bytes", lambda _: 2**30)
    monkeypatch.setattr(torch, "randn", never)
    with pytest.raises(ScenarioError, match=r"needs 1\.50 GiB \(tensors 1\.50\), free on cpu are 1\.00 GiB"):
        maker(write, "[{ op = 'matmul', m = 16384, n = 16384, k = 16384 }]")


def test_work_keeps_its_thread_for_as_long_as_it_takes() -> None:
    import time

    start = time.perf_counter_ns()
    work_for(300_000)
    assert time.perf_counter_ns() - start >= 300_000


def test_a_train_of_calls_is_written_down_afterwards() -> None:
    train = Train([Kernel("k", "bare", 0), Think(5), Record("e")], [10, 14, 19, 21], 7)
    assert list(train) == [
        Call("cudaLaunchKernel", 10, 14, 7),
        Call("think", 14, 19, 0, Kind.HOST),
        Call("cudaEventRecord", 19, 21, 9),
    ]


@pytest.mark.cuda
@gpu
def test_a_graph_replays_its_branches_on_a_gpu(write: Write) -> None:
    program = write(f"[[threads]]\nops = [{{ op = 'graph', ops = {FORK} }}]").scenario
    assert isinstance(program, Program)
    made = TorchMaker(program, "program.toml", "cuda")
    add: Any = made.operation(recipe.Add(op="add", elements=100))
    x, y = add.run.args
    add.run.keywords["out"].zero_()
    from sim.program.recipe import Recipe

    (launch, _) = list(Recipe(made, graphs=True).loop(program.threads[0].ops))
    add.run.keywords["out"].zero_()
    launch.work[0].run()  # type: ignore[union-attr]
    torch.cuda.synchronize()
    assert torch.equal(add.run.keywords["out"], x + y)


@pytest.mark.cuda
@gpu
def test_a_capture_that_cuda_refuses_names_the_op() -> None:
    from gpu.programs.bound import BoundKernel
    from gpu.programs.capture import capture

    body = [
        ("main", BoundKernel("fine", "bare", 0)),
        ("main", BoundKernel("sync", "bare", 0, run=torch.cuda.synchronize)),
    ]
    with pytest.raises(ScenarioError, match=r"graph 'g': op 1 on stream 'main' \(sync\): capture refused"):
        capture("g", body)


@pytest.mark.cuda
@gpu
@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ("[{ op = 'sleep', duration = '1us', sm = 0.5 }]", "found 0.5, expected none"),
        (
            "[{ op = 'record', event = 'e' }, { op = 'sync', on = 'e' }, { op = 'sync', on = 'e', how = 'blocking' }]",
            "event 'e' is waited for by spinning and by sleeping",
        ),
    ],
)
def test_what_cuda_has_no_form_of_is_refused(write: Write, ops: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        open_session(write(f"[[threads]]\nops = {ops}"), "cuda")
