"""The checks bite: faults as one makes them are caught. All of them, and hundreds of mutants: ``make check-deep``."""

from __future__ import annotations

import pytest
from equivalent import REASONS
from faults import FAULTS, Fault, attacks_on
from generate import mutants, sample
from harness import attempt, source_of

EVERY = 6
"""Of the faults so many-th are tried here, at a second each."""


@pytest.mark.parametrize("fault", FAULTS[::EVERY], ids=lambda fault: fault.what)
def test_a_fault_is_caught(fault: Fault) -> None:
    assert attempt(fault.module, fault.source, attacks_on(fault.module), examples=200).invariant is not None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_is_still_one(fault: Fault) -> None:
    """Its snippet stands in the module once; where the module has changed, the fault has to be made again."""
    compile(fault.source, fault.module, "exec")


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 40
    assert len({fault.what for fault in FAULTS}) == len(FAULTS)
    assert len({fault.module for fault in FAULTS}) >= 10


def test_a_module_as_it_is_breaks_nothing() -> None:
    module = "sim.serving.kv_cache"
    assert attempt(module, source_of(module), ("worlds",), examples=20).invariant is None


def test_mutants_differ_from_their_module_in_one_place() -> None:
    assert len(list(mutants())) > 500
    for mutant in sample(20):
        assert compile(mutant.source, mutant.module, "exec")
        assert mutant.line > 0


def test_a_reason_is_that_of_a_mutant() -> None:
    assert set(REASONS) <= {(mutant.module, mutant.code, mutant.what) for mutant in mutants()}
