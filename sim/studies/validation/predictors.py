"""Who predicts: ours with two sources of host costs, and two naive ones made of the simulator's own parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sim.studies.validation.results_file import Case, ClientMetric


@dataclass(frozen=True, slots=True)
class Predictor:
    """What is predicted for a case, in nanoseconds, and of what clients see (None where there is no prediction).

    ``always_helps`` says that every mode helps, whatever the numbers.
    """

    name: str
    key: str
    ns: Callable[[Case], int | None]
    seen_by_clients: Callable[[ClientMetric], float | None] = lambda _: None
    always_helps: bool = False


def promised(case: Case) -> int:
    """What the technique promises: graphs cost no launching, overlap hides all of the server's work, neither a gap."""
    parts = case.parts
    launches = 0 if case.mode.endswith("graph") else parts.launch_ns
    host = 0 if case.mode.startswith("overlap") else parts.host_ns
    return launches + host + parts.device_ns


def summed(case: Case) -> int:
    """Everything in a row: the server's work, then the calls, then the kernels and copies, in any mode."""
    return case.parts.host_ns + case.parts.launch_ns + case.parts.device_ns


SHIPPED = Predictor("shipped profile", "shipped", lambda case: case.predicted_ns, lambda metric: metric.predicted)
IN_PROCESS = Predictor(
    "in-process host costs",
    "in_process",
    lambda case: case.predicted_in_process_ns,
    lambda metric: metric.predicted_in_process,
)
ALWAYS_HELPS = Predictor("naive: always helps", "always_helps", promised, always_helps=True)
SUM_OF_PARTS = Predictor("naive: sum of kernels plus host", "sum_of_parts", summed)
BEST_KNOWN = Predictor(
    "in-process host costs, programs by the shipped profile",
    "best_known",
    lambda case: case.predicted_in_process_ns or case.predicted_ns,
    lambda metric: metric.predicted if metric.predicted_in_process is None else metric.predicted_in_process,
)
PREDICTORS = (SHIPPED, IN_PROCESS, ALWAYS_HELPS, SUM_OF_PARTS)


def best_known(cases: Iterable[Case]) -> Predictor:
    """Ours with the most that is known of each case."""
    known = {case.predicted_in_process_ns is not None for case in cases}
    return BEST_KNOWN if len(known) == 2 else IN_PROCESS if True in known else SHIPPED
