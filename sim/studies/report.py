"""What ``run`` prints: one table, and under it why."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.scenario import Serving
from scenarios.training import Training
from sim.studies.latency_table import print_latencies
from sim.studies.results import Results
from sim.studies.table import table, time
from sim.studies.validation.shipped import MeasuredScenario
from sim.studies.why import BreakEven, Waterfall


def print_results(console: Console, results: Results, hardware: MeasuredScenario | None = None) -> None:
    """The table of all modes; for serving, the waterfall of the gain and the break-evens.

    ``hardware`` adds a column of what the same run took on real hardware.
    """
    loaded = results.loaded
    console.print(Text(loaded.scenario.title, style="bold"))
    program = loaded.scenario.kind != "serving"
    console.print(Text(_where(results), style="dim"), soft_wrap=True)
    if results.changes:
        console.print(Text("with " + ", ".join(results.changes), style="dim"), soft_wrap=True)
    console.print(_program_table(results, hardware) if program else _serving_table(results, hardware))
    if hardware is not None:
        console.print(Text(hardware.source, style="dim"), soft_wrap=True)
    for mode, why in results.loaded.missing.items():
        console.print(f"{mode}: {results.loaded.engine.name} has none: {why}", soft_wrap=True)
    if isinstance(loaded.scenario, Serving) and loaded.scenario.workload.batch is None:
        print_latencies(console, results)
    if isinstance(loaded.scenario, Serving) and loaded.scenario.tensor_parallel.ranks > 1:
        console.print(ranks_sentence(results), soft_wrap=True)
    for note in results.notes:
        console.print(note, soft_wrap=True)
    for reason in results.reasons:
        console.print(reason, soft_wrap=True)
    for mode, cycle in results.cycles.items():
        console.print(f"{mode}: {cycle}", soft_wrap=True)
    if results.waterfall is not None:
        console.print(waterfall_sentence(results.waterfall), soft_wrap=True)
        if results.break_evens:
            console.print(break_even_sentence(results.break_evens), soft_wrap=True)
    if results.speedup_of != "step time" and not program:
        console.print(Text(f"speedup is the ratio of {results.speedup_of}", style="dim"))
    if results.measured is None:
        console.print(Text("simulated by " + machines_sentence(results), style="dim"), soft_wrap=True)


def ranks_sentence(results: Results) -> str:
    """How long the ranks of a server wait for one another, mode by mode."""
    parallel = results.loaded.scenario.tensor_parallel  # type: ignore[union-attr]
    waits = (f"{mode} {time(found['collective_wait_us'])}" for mode, found in results.modes.items())
    return (
        f"{parallel.ranks} ranks; waiting in collectives for the slowest, a step of a rank: {', '.join(waits)}; "
        "simulated, not validated"
    )


def machines_sentence(results: Results) -> str:
    """Which machine took which modes, and why not the fast one where it did not."""
    modes: dict[tuple[str, str], list[str]] = {}
    for mode, timeline in results.timelines.items():
        modes.setdefault((timeline.machine, timeline.refusal), []).append(mode)
    return ", ".join(
        f"the {machine} machine"
        + (f" ({refusal})" if refusal else "")
        + (f": {', '.join(taken)}" if len(modes) > 1 else "")
        for (machine, refusal), taken in modes.items()
    )


def _where(results: Results) -> str:
    """What the numbers below hold for: a prediction's profile, or the machine that was measured."""
    loaded = results.loaded
    model = [] if loaded.model is None else [f"model {getattr(loaded.model, 'name', 'timer')}"]
    engine = f"engine {loaded.engine.name}" if loaded.training is None else f"training costs {loaded.training.name}"
    if (measured := results.measured) is not None:
        return f"measured on {', '.join([str(measured), *model])}, median of {measured.repeats} runs"
    profile = loaded.profile
    source = f"{profile.provenance.gpu}, torch {profile.provenance.torch}, {profile.provenance.date}"
    return "predicted for " + ", ".join([*model, engine, f"profile {profile.name} ({source})"])


def waterfall_sentence(waterfall: Waterfall) -> str:
    """Such as ``overlap-graph is 1.84x serial-eager = fewer launches 1.41 x smaller gaps 1.12 x ...``."""
    factors = " x ".join(f"{factor.cause} {float(factor.gain):.3f}" for factor in waterfall.factors)
    return f"{waterfall.target} is {float(waterfall.gain):.3f}x {waterfall.base} = {factors}"


def break_even_sentence(points: list[BreakEven]) -> str:
    """All break-evens on one line."""
    return "; ".join(point.text for point in points)


def _serving_table(results: Results, hardware: MeasuredScenario | None) -> Table:
    first = ("step", *_beside(hardware), *_noise(results))
    shown = table("mode", *first, "tokens/s", "device busy", "exposed host", "speedup")
    for mode, found in results.modes.items():
        cells = [
            mode,
            time(found["step_us"]),
            *_beside(hardware, mode),
            *_noise(results, found),
            f"{found['tokens_per_s']:,.0f}" if found["tokens_per_s"] >= 10 else f"{found['tokens_per_s']:.3g}",
            "-" if found["device_busy"] is None else f"{found['device_busy']:.1%}",
            time(found["exposed_host_us"]),
            f"{found['speedup']:.2f}x",
        ]
        shown.add_row(*cells)
    for mode in results.loaded.missing:
        shown.add_row(mode, *["-"] * (len(shown.columns) - 1))
    return shown


def _program_table(results: Results, hardware: MeasuredScenario | None) -> Table:
    """A line a mode: all of a program, a step of training."""
    scenario = results.loaded.scenario
    steps = scenario.steps if isinstance(scenario, Training) else 1
    first = ("total" if steps == 1 else "step", *_beside(hardware), *_noise(results))
    shown = table("mode", *first, "host", "device", "launches", "kernels", "speedup")
    for mode, found in results.modes.items():
        shown.add_row(
            mode,
            time(found["total_us"] / steps),
            *_beside(hardware, mode, steps),
            *_noise(results, found, steps),
            *(time(found[key] and found[key] / steps) for key in ("host_us", "device_us")),
            *("-" if found[key] is None else f"{found[key] // steps:,}" for key in ("launches", "kernels")),
            f"{found['speedup']:.2f}x",
        )
    return shown


def _beside(hardware: MeasuredScenario | None, mode: str | None = None, steps: int = 1) -> tuple[str, ...]:
    """The column beside the predicted time: its header, or a mode's cell; nothing of what was not measured."""
    if hardware is None:
        return ()
    if mode is None:
        return ("measured",)
    found = hardware.modes.get(mode)
    return (f"{time(found.us / steps)} +- {time(found.noise_us / steps)}" if found else "-",)


def _noise(results: Results, found: dict[str, Any] | None = None, steps: int = 1) -> tuple[str, ...]:
    """The column that a measured table has beside its first: its header, or a mode's cell."""
    if results.measured is None:
        return ()
    return ("noise",) if found is None else (time(found["noise_us"] / steps),)
