"""The file of a validation: every case with every repeat, from which each summary can be computed again.

One JSON object, ``{"provenance": {...}, "cases": [...]}``. Times are integer nanoseconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from scenarios.errors import Problem, ScenarioError
from scenarios.table import Count, NonEmpty, Rows, Table
from scenarios.text import read_text
from scenarios.translation import validated
from sim.timeline.chrome import replacing

Quantity = Literal["step", "total"]
SpeedupOf = Literal["time", "tokens_per_s", "tpot_mean_ns"]
Nanoseconds = Annotated[int, Field(ge=0)]


class Parts(Table):
    """What the predicted time is made of, overlapping or not: nanoseconds a step, or of the whole program.

    ``host_ns`` is the server's own work, ``launch_ns`` the calls that enqueue, ``device_ns`` kernels and copies.
    """

    host_ns: Nanoseconds
    launch_ns: Nanoseconds
    device_ns: Nanoseconds


class ClientMetric(Table):
    """One quantity that clients saw, predicted and measured; ``predicted_in_process`` as in ``Case``."""

    predicted: float
    predicted_in_process: float | None
    measured: NonEmpty[float]


class Case(Table):
    """One mode of one configuration (a scenario with its overrides), predicted and measured.

    ``quantity`` says what is compared: the steady ``step`` of a server (``StepMetrics.step_ns``) or a program's
    ``total`` (``ProgramMetrics.total_ns``). ``predicted_ns`` is by the shipped profile, ``predicted_in_process_ns`` by
    the host costs of ``in_process``, medians of what was measured between the repeats; null without any. ``noise_ns``
    is half the range from the 10th to the 90th percentile of ``measured_ns``. ``digest`` names what was run, whatever
    it is called and predicted with. ``parting`` says where the two timelines part first, for the worst cases.
    ``host_ns`` is what the host thread did of a measured step, by ``HOST_PARTS``, each the median of the repeats; empty
    of a program. ``clients`` are the metrics of an open loop's requests (``client_metrics``), none of other cases;
    ``speedup_of`` is the one of them by which its modes are compared, ``time`` elsewhere.
    """

    name: str
    scenario: str
    set: Rows[str]
    mode: str
    quantity: Quantity
    predicted_ns: Count
    predicted_in_process_ns: Count | None
    measured_ns: NonEmpty[Count]
    noise_ns: Nanoseconds
    in_process: dict[str, Nanoseconds]
    parts: Parts
    digest: str
    parting: str = ""
    host_ns: dict[str, Nanoseconds] = Field(default_factory=dict)
    clients: dict[str, ClientMetric] = Field(default_factory=dict)
    speedup_of: SpeedupOf = "time"

    @property
    def configuration(self) -> tuple[str, tuple[str, ...]]:
        """What the modes that are compared with each other have in common."""
        return self.scenario, self.set

    @property
    def measured(self) -> float:
        """The median repeat."""
        return float(np.median(self.measured_ns))


class Captures(Table):
    """What capturing one configuration's graphs took, largest first: a column a quantity, an item a graph.

    ``memory`` is what the device had less of after a graph's capture and first replay, in bytes; all share a pool.
    """

    configuration: str
    model: str
    rows: NonEmpty[Count]
    capture_ns: NonEmpty[Nanoseconds]
    first_replay_ns: NonEmpty[Nanoseconds]
    memory: NonEmpty[int]


class ResultsFile(Table):
    """All cases of a validation and where, when and with what they were measured."""

    provenance: dict[str, Any]
    cases: Rows[Case]
    captures: Rows[Captures] = ()


def read_results(path: Path) -> ResultsFile:
    """Raises ``ScenarioError`` for a file that cannot be read or holds something else."""
    try:
        tree = json.loads(read_text(path, str(path)))
    except json.JSONDecodeError as error:
        raise ScenarioError([Problem(str(path), f"line {error.lineno}", f"no valid JSON: {error.msg}")]) from None
    if not isinstance(tree, dict):
        raise ScenarioError([Problem(str(path), "", "expected an object with 'provenance' and 'cases'")])
    return validated(ResultsFile, tree, lambda _: str(path))


def write_results(path: Path, results: ResultsFile) -> None:
    """Write the file, a case a line; it takes its place once it is complete."""
    tree = results.model_dump(mode="json")
    provenance = json.dumps(tree["provenance"], indent=1)
    with replacing(path) as temporary:
        captures = f',\n"captures": [\n{_lines(tree["captures"])}\n]' if results.captures else ""
        temporary.write_text(
            f'{{"provenance": {provenance},\n"cases": [\n{_lines(tree["cases"])}\n]{captures}}}\n', encoding="utf-8"
        )


def _lines(items: list[dict[str, Any]]) -> str:
    return ",\n".join(json.dumps(item) for item in items)
