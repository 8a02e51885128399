"""Profiles of Hypothesis: ``pytest --hypothesis-profile=deep`` draws twenty times as many examples."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("deep", max_examples=20 * settings.default.max_examples, deadline=None)
