"""Attacks on schedulers and timelines: what must never happen, strategies that try to make it happen, and proofs."""
