"""Which loops a mode of an engine runs, by the preset's knobs."""

from __future__ import annotations

from scenarios.engine import EnginePreset
from sim.effects import Loop
from sim.loops import (
    forward_thread_loops,
    graphs_or_overlap_loop,
    late_sampling_loop,
    multi_step_loop,
    naive_loop,
    output_thread_loops,
    overlap_loop,
    serial_loop,
)
from sim.serving.server import Server


def threads(engine: EnginePreset, mode: str, server: Server) -> dict[str, Loop[None]]:
    """A mode's host threads by name, the one that schedules first.

    Where there is host work between logits and sampling, the preset's rule for it decides what an overlap mode runs.
    """
    overlap, masks = engine.overlap, engine.host.mask is not None
    if mode == "naive":
        return {"scheduler": naive_loop(server, masks=masks)}
    if mode.startswith("serial") or (masks and overlap.masks == "serial"):
        return {"scheduler": serial_loop(server, masks=masks)}
    if not mode.startswith("overlap"):
        raise ValueError(f"no mode {mode!r}")
    if overlap.loop == "late-sampling" or (masks and overlap.masks == "late-sampling"):
        return {"scheduler": late_sampling_loop(server, masks=masks)}
    match overlap.loop:
        case "run-ahead":
            return {"scheduler": overlap_loop(server)}
        case "graphs-or-overlap":
            return {"scheduler": graphs_or_overlap_loop(server)}
        case "multi-step":
            return {"scheduler": multi_step_loop(server, steps=overlap.steps, late_outputs=overlap.late_outputs)}
        case "forward-thread":
            return forward_thread_loops(server, masks=masks)
        case "output-thread":
            return output_thread_loops(server, wait_for_inputs=overlap.staging == "event")
