"""Training steps on torch and on an emulated device."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu.measure import measure
from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario

torch = pytest.importorskip("torch")

from gpu.training.profiled import STEPS, add_replayed, by_phase  # noqa: E402
from gpu.training.step import TrainingStep  # noqa: E402

SMALL = ("hidden=256", "rows=256", "layers=2", "steps=3")


def test_micro_batches_add_up_to_the_gradients_of_all_their_rows() -> None:
    several = TrainingStep(16, 2, 8, accumulate=2, optimizer="sgd", device="cpu")
    several.gradients()
    once = TrainingStep(16, 2, 8, optimizer="sgd", device="cpu")
    for batch in several.batches:
        once.model(batch).float().square().mean().backward()
    for one, other in zip(several.model.parameters(), once.model.parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_steps_bring_the_loss_down(optimizer: str) -> None:
    step = TrainingStep(16, 2, 32, optimizer=optimizer, device="cpu")
    for group in step.optimizer.param_groups:
        group["lr"] = 1e-2
    step()
    before = float(step.loss)
    for _ in range(10):
        step()
    assert float(step.loss) < before


def test_kernels_are_told_apart_by_the_phase_that_launches_them() -> None:
    spans = [("phase forward 0", 0, 10), ("phase backward 0", 20, 10)]
    events = [{"cat": "user_annotation", "name": name, "ts": ts, "dur": dur} for name, ts, dur in spans]
    for number, (launched, name, dur) in enumerate([(1, "a", 2.0), (2, "b", 3.0), (25, "c", 4.0)]):
        events.append({"cat": "cuda_runtime", "name": "launch", "ts": launched, "args": {"correlation": number}})
        kernel = {"cat": "kernel", "name": name, "ts": 100 - launched, "dur": dur}
        events.append(kernel | {"args": {"correlation": number}})
    assert by_phase(events) == {"forward 0": [["a", 2000], ["b", 3000]], "backward 0": [["c", 4000]]}


def test_replayed_times_stand_beside_eager_ones() -> None:
    phases = {"forward 0": [["a", 2000], ["b", 3000]], "optimizer": [["c", 4000]]}
    events = [
        {"cat": "kernel", "name": name, "ts": 10 * step + number, "dur": 1.0 + number}
        for step in range(STEPS)
        for number, name in enumerate("abc")
    ]
    add_replayed(phases, events)
    assert phases == {"forward 0": [["a", 2000, 1000], ["b", 3000, 2000]], "optimizer": [["c", 4000, 3000]]}
    with pytest.raises(ValueError, match="14 kernels in 5 replays of a step of 3"):
        add_replayed(phases, events[1:])


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    points = ", ".join(f'[{w}, {r}, "5us"]' for w in (64, 256) for r in (64, 256))
    kernel = f'[{{ name = "k", points = [{points}] }}]'
    phases = "\n".join(f"{phase} = {kernel}" for phase in ("forward", "loss", "backward", "first", "accumulate"))
    hosts = "\n".join(f'{phase} = {{ base = "50us" }}' for phase in ("zero", "forward", "loss", "backward", "adamw"))
    (tmp_path / "costs.toml").write_text(
        f'name = "test"\nsource = "made up"\ngraph_gap = "200ns"\n{phases}\n'
        f'[optimizer.adamw]\ntensors = 36\npoints = [[1, "5us"]]\n'
        f'[host]\n{hosts}\naccumulate = {{ base = "0us" }}\n'
    )
    path = tmp_path / "training.toml"
    path.write_text(
        'kind = "training"\ntitle = "T"\nhidden = 64\nlayers = 2\nrows = 64\nsteps = 3\ncosts = "costs.toml"\n'
    )
    return path


def test_an_emulated_device_runs_all_modes(scenario: Path) -> None:
    results, right = measure(load_scenario(scenario), "emulated", repeats=2)
    assert right
    assert set(results.modes) == {"eager", "graph-gradients", "graph-step"}
    assert [results.modes[mode]["launches"] for mode in ("graph-gradients", "graph-step")] == [6, 3]


def test_a_cpu_runs_eager_steps_and_has_no_graphs(scenario: Path) -> None:
    results, _ = measure(load_scenario(scenario, ['modes=["eager"]']), "cpu", repeats=1)
    found = results.modes["eager"]
    assert 0 < found["host_us"] <= found["total_us"]
    assert found["launches"] is None
    with pytest.raises(ScenarioError, match="no graphs"):
        measure(load_scenario(scenario), "cpu", repeats=1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("whole", [False, True])
def test_a_captured_step_trains_as_the_eager_one_does(whole: bool) -> None:
    from gpu.training.step import captured

    eager, graph = (TrainingStep(64, 2, 32, device="cuda") for _ in range(2))
    replay = captured(graph, whole=whole)
    for _ in range(3):
        eager()  # the captured one has warmed up by three steps
    for _ in range(5):
        eager()
        replay()
    torch.cuda.synchronize()
    for one, other in zip(eager.model.parameters(), graph.model.parameters(), strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=1e-2, atol=1e-3)
