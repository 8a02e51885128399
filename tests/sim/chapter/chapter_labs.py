"""The labs of all tests of the chapter: what several claims ask for is run once."""

from __future__ import annotations

from functools import cache

from sim.studies.chapter.lab import Lab
from sim.studies.chapter.outcomes import labs_of


@cache
def labs() -> list[Lab]:
    return labs_of(None)


def lab() -> Lab:
    return labs()[0]
