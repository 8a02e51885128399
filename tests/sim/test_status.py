"""What a run says of itself where nobody looks at a terminal."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sim.verbs import status


def test_a_log_says_where_a_run_has_come_to_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 101.0, 115.0, 116.0, 131.5])
    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with status.status("mine: simulating") as say:
        for what in ("first", "second", "third", "fourth"):
            say(f"mine: {what}")
    assert capsys.readouterr().err == "mine: second (15 s so far)\nmine: fourth (32 s so far)\n"
