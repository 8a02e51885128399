"""Which runs are the same run, whatever they are called and predicted with."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from scenarios.loader import LoadedScenario
from scenarios.model import TimerModel
from scenarios.scenario import Serving
from sim.serving.buckets import Buckets

SCHEDULER = {"policy": "batching", "max_batch": "max_batch", "prefill_tokens": "token_budget"}
"""The scheduler's limits as runs are named by, and what they are called now."""
PREDICTED_WITH = {"host", "framework", "title", "source", "buckets", "extends", "missing"}
"""Fields of a preset that real hardware does not ask for; a timer's host costs it does: they are waited out."""


def run_digest(loaded: LoadedScenario) -> str:
    """Name what runs. Left out are title, modes, profile and host costs, which are not part of a run on real hardware.

    Of a closed batch's buckets only the one that it is padded to counts, and of the scheduler's limits none. Fields at
    their defaults are left out, too, so that a field that is new here does not make old runs other runs.
    """
    scenario = loaded.scenario
    left_out = {"title", "model", "hardware", "modes", "engine", "limits", "costs"}
    own: dict[str, Any] = scenario.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
    if isinstance(scenario, Serving):
        engine, batch = loaded.engine, scenario.workload.batch
        own["knobs"] = engine.model_dump(
            mode="json", exclude=PREDICTED_WITH | set(SCHEDULER.values()), exclude_defaults=True
        )
        if batch is not None:
            own["bucket"] = Buckets(engine.buckets, pad=engine.pad_to_bucket).fit(batch)
        else:
            own["buckets"] = list(engine.buckets)
            own["limits"] = {name: getattr(engine, knob) for name, knob in SCHEDULER.items()}
        if isinstance(loaded.model, TimerModel):
            own["host_costs"] = engine.host.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    model = None if loaded.model is None else loaded.model.model_dump(mode="json")
    return hashlib.sha256(json.dumps([own, model], sort_keys=True).encode()).hexdigest()[:12]
