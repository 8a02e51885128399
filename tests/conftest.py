"""Profiles of Hypothesis: ``pytest --hypothesis-profile=deep`` draws twenty times as many examples.

Torch gets one thread: its models here are so small that two threads spend four times as long, waiting for each other.
"""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("deep", max_examples=20 * settings.default.max_examples, deadline=None)
