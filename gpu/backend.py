"""The backends: what is needed to use one, what a scenario may ask of it, and what it is called."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

from gpu.availability import require_gpu, require_torch
from gpu.calibration.provenance import cpu_model
from scenarios.errors import Problem, ScenarioError
from scenarios.loader import LoadedScenario
from scenarios.model import TimerModel
from scenarios.scenario import Serving
from scenarios.training import Training
from sim.studies.results import Measured

On = Literal["emulated", "cpu", "cuda"]


def check_backend(on: On) -> None:
    """Raise ``ScenarioError`` unless this machine has what the backend needs."""
    if on == "cuda":
        require_gpu("--on cuda")
    elif on == "cpu":
        require_torch("--on cpu")


def check_scenario(loaded: LoadedScenario, on: On) -> None:
    """Raise ``ScenarioError`` with everything that the scenario asks for and this backend cannot do."""
    problems = [Problem(loaded.source, path, message) for path, message in _refusals(loaded, on)]
    if problems:
        raise ScenarioError(problems)


def _refusals(loaded: LoadedScenario, on: On) -> Iterator[tuple[str, str]]:
    """Places in the scenario, and what is wrong with them."""
    scenario = loaded.scenario
    scale = scenario.host.scale
    if scale < 1:
        yield "host.scale", f"found {scale:g}, expected at least 1 on {on}: no real host gets faster by asking"
    elif scale > 1 and on != "emulated":
        yield "host.scale", f"found {scale:g}, expected 1 on {on}, whose host is as fast as it is; try host.extra"
    if scenario.host.jitter:
        yield "host.jitter", f"found true, expected false on {on}: real times have their own"
    if scenario.kernels.scale != 1 and on != "emulated":
        found = f"found {scenario.kernels.scale:g}, expected 1 on {on}"
        yield "kernels.scale", f"{found}, whose kernels take as long as they do"
    if isinstance(scenario, Training) and on == "cpu" and scenario.modes != ("eager",):
        yield "modes", f"found {', '.join(scenario.modes)}, expected ['eager'] on cpu, which has no graphs"
    if isinstance(scenario, Serving) and scenario.replicas.count > 1:
        yield (
            "replicas.count",
            f"found {scenario.replicas.count}, expected 1 on {on}: several servers are simulated only",
        )
    if isinstance(scenario, Serving) and scenario.tensor_parallel.ranks > 1:
        found = f"found {scenario.tensor_parallel.ranks}, expected 1 on {on}"
        yield "tensor_parallel.ranks", f"{found}: several ranks are simulated only"
    if not isinstance(scenario, Serving) or on == "emulated":
        return
    if isinstance(loaded.model, TimerModel):
        if on == "cpu":
            yield "model", "found a timer, expected a transformer on cpu: it has no device that sleeps; try emulated"
        return
    engine = loaded.engine
    for knob, only in (
        ("grain", "engine"),
        ("copy_stream", "separate"),
        ("sample_in_graph", False),
        ("input_copies", 1),
    ):
        if (found := getattr(engine, knob)) != only:
            yield f"engine.{knob}", f"found {found!r}, expected {only!r} on {on}, as this project's own engine is built"


def notes(loaded: LoadedScenario, on: On) -> list[str]:
    """What a reader of a measurement has to know about this backend."""
    scenario = loaded.scenario
    modes = scenario.engine.modes if isinstance(scenario, Serving) else scenario.modes
    if on == "cpu" and any(mode.endswith("graph") for mode in modes):
        if isinstance(scenario, Serving):
            return ["a cpu has no graphs: graph modes run their batches padded to a bucket, operation by operation"]
        return ["a cpu has no graphs: mode graph runs a graph's operations in one call"]
    return []


def described(loaded: LoadedScenario, on: On, repeats: int) -> Measured:
    """The machine behind a backend, now."""
    device, version = cpu_model(), None
    if on == "emulated":
        device = f"an emulated {loaded.profile.name} on {device}"
    else:
        import torch  # noqa: PLC0415  only where it is used

        version = str(torch.__version__)
        if on == "cuda":
            device = torch.cuda.get_device_name()
    return Measured(on, device, version, time.strftime("%Y-%m-%d"), repeats)
