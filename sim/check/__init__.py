"""Attacks on schedulers and timelines: what must never happen, strategies that try to make it happen, and proofs."""

from sim.check.one_liner import scheduler_invariants

__all__ = ["scheduler_invariants"]
