"""The GPU's part of a check-up. Nothing here profiles, so that what is timed is what a clean process sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch

from gpu.calibration.clock import DEV, cycles_per_us, elapsed, quantile
from gpu.calibration.fit_constants import threads
from gpu.calibration.measure_device import first_blocked
from gpu.calibration.measure_host import call_samples, calls_timed, gil, synchronization
from gpu.calibration.provenance import smi
from gpu.doctor.compared import CALLS, calls, waits
from gpu.doctor.report import Line, Part, at_most, close, same
from scenarios.profile import Constants, Profile

OTHERS = 2.0
"""GiB in use beyond our own tensors: a context of ours is less than that."""


def cuda_lines(profile: Profile, tell: Callable[[str], None]) -> Iterator[Line]:
    """Everything that a GPU can be asked in half a minute."""
    tell("the device's clock")
    mhz = cycles_per_us()
    yield from _names(profile)
    yield from _others(mhz)
    tell("host calls")
    _round()  # a fresh process is slow at first, as no server stays
    rounds = [_round()]
    tell("waits")
    yield from waits(synchronization(), profile.constants)
    rounds.append(_round())
    tell("the GIL")
    yield from _beside_python(profile.constants)
    rounds += [_round(), _round()]
    tell("the launch queue")
    yield close("queue depth", first_blocked(), profile.constants.queue_depth.value, "launches", "told", 1.05)
    rounds.append(_round())
    tell("copies")
    yield from _copies(profile)
    tell("host calls again")
    rounds += [_round() for _ in range(3)]
    yield from calls(rounds, profile.constants)


def _names(profile: Profile) -> Iterator[Line]:
    known = profile.provenance
    yield same("GPU", torch.cuda.get_device_name(), known.gpu, "must")
    yield same("driver", smi("driver_version"), known.driver)
    yield same("CUDA", str(torch.version.cuda), known.cuda)
    yield same("torch", torch.__version__, known.torch)


def _others(mhz: float) -> Iterator[Line]:
    free, total = torch.cuda.mem_get_info()
    taken = (total - free - torch.cuda.memory_reserved()) / 2**30
    yield at_most("memory in use by others", round(taken, 2), OTHERS, "GiB", "must")
    highest = smi("clocks.max.sm").partition(" ")[0]
    if highest.isdigit():
        yield close("clock of the multiprocessors", round(mhz), float(highest), "MHz", "device", 1.1)
    else:
        yield Line("clock of the multiprocessors", round(mhz), None, "MHz", "told", None)


def _round() -> dict[str, float]:
    timed = calls_timed()
    return {name: quantile(call_samples(timed[name]), 0.5) for name in CALLS}


def _beside_python(constants: Constants) -> Iterator[Line]:
    measured = gil()
    found = threads(measured)
    alone = float(measured["alone_us"])
    factor, expected = (
        1 + us / alone for us in (found["gil_switch_interval"].value, constants.gil_switch_interval.value / 1000)
    )
    yield close("a launch beside pure Python, over one alone", factor, expected, "x", "told", 1.25)


def _copies(profile: Profile) -> Iterator[Line]:
    free = torch.cuda.mem_get_info()[0]
    for name in ("h2d", "d2h", "d2d"):
        points = getattr(profile.copies, name).points
        size, expected = max((p for p in points if p[0] <= free // 4), default=points[0])
        on_device = [torch.zeros(size, dtype=torch.uint8, device=DEV) for _ in range(2 if name == "d2d" else 1)]
        pinned = torch.zeros(size if name != "d2d" else 1, dtype=torch.uint8, pin_memory=True)
        target, source = {
            "h2d": (on_device[0], pinned),
            "d2h": (pinned, on_device[0]),
            "d2d": (on_device[0], on_device[-1]),
        }[name]
        copy = partial(target.copy_, source, non_blocking=True)
        elapsed(copy)
        ns = 1000 * median(elapsed(copy) for _ in range(7))
        del on_device, target, source, copy
        part: Part = "device" if name == "d2d" else "told"
        yield close(f"copy {name}", size / ns, size / expected, "GB/s", part, 1.1)
