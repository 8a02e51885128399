"""Profiles of Hypothesis: ``pytest --hypothesis-profile=deep`` draws twenty times as many examples.

No example has a deadline and none is drawn too slowly: the machine that runs the tests may be busy.

Torch gets one thread: its models here are so small that two threads spend four times as long, waiting for each other.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
settings.register_profile("deep", max_examples=20 * settings.default.max_examples)
