"""Each case of the suite that a CPU can run: its verdict, its rule, and the line that it names."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from gpu.capture.attempt import attempt  # noqa: E402
from gpu.capture.case import Case  # noqa: E402
from gpu.capture.suite import CASES  # noqa: E402
from gpu.capture.tables import MARK  # noqa: E402

ON_CPU = {
    "mask": ("refused", "dynamic-shape"),
    "new-shape": ("frozen", "shape"),
    "where-for-mask": ("captured", None),
    "dropout": ("captured", None),
    "own-generator": ("captured", None),
    "empty-tensor": ("captured", None),
    "branch-on-device": ("refused", "host-read"),
    "branch-on-host": ("frozen", "branch"),
    "where-for-branch": ("captured", None),
    "cond": ("refused", "conditional"),
    "item": ("refused", "host-read"),
    "cpu": ("refused", "host-read"),
    "host-counter": ("frozen", "counter"),
    "device-counter": ("captured", None),
    "python-result": ("frozen", "returned-value"),
    "rebound": ("frozen", "address"),
    "rewritten": ("captured", None),
    "backward": ("captured", None),
    "sgd": ("captured", None),
    "adam": ("refused", "optimizer"),
    "clip": ("captured", None),
    "clip-or-error": ("refused", "host-read"),
    "rate-as-number": ("frozen", "counter"),
    "rate-as-tensor": ("refused", "host-read"),
    "rate-as-tensor-fused": ("captured", None),
    "accumulate": ("captured", None),
    "accumulate-by-count": ("frozen", "another-call"),
    "checkpoint-no-rng": ("captured", None),
}
"""Verdict and first rule without a GPU. ``checkpoint`` is not among them: what keeps the state of the random numbers is
no operation, so that a recording says nothing about it."""


@pytest.mark.parametrize("case", [case for case in CASES if case.name in ON_CPU], ids=lambda case: case.name)
def test_a_case_gets_its_verdict_and_names_its_line(case: Case) -> None:
    report = attempt(case.target("cpu"), "cpu")
    verdict, rule = ON_CPU[case.name]
    assert (report.verdict, report.findings[0].rule if report.findings else None) == (verdict, rule)
    for finding in report.findings:
        assert finding.place is None or finding.place.text.endswith(MARK)
    if verdict == "captured":
        assert report.equal
    elif rule not in ("shape", "returned-value"):
        assert report.findings[0].place is not None


def test_every_case_runs_somewhere_and_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.name for case in CASES if not case.needs_gpu} - set(ON_CPU) == {"checkpoint"}


@pytest.mark.cuda
@pytest.mark.filterwarnings("default")  # torch warns of its own deprecations while it captures
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", ["dropout", "where-for-mask", "sgd", "device-counter"])
def test_what_can_be_captured_replays_what_the_function_does(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    report = attempt(case.target("cuda"), "cuda")
    assert (report.verdict, report.equal, report.error) == ("captured", True, None)
