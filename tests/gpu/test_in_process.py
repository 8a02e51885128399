"""What the launches of prompt steps cost beyond those of decode steps, from launches whose times are written here."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from gpu.calibration import in_process

Launches = list[tuple[str, int]]
DECODE = {"gemm": 10_000, "norm": 4000, "embedding": 30_000}
DECODE_STEP: Launches = [("embedding", 5000), ("gemm", 10_000), ("norm", 4000), ("gemm", 10_000), ("argmax", 17_000)]


def prompt_step(*, cold: int, slower: int) -> Launches:
    """A step of two layers whose first launches of a kind take ``cold`` longer, and whose products all ``slower``."""
    layer: Launches = [("gemm", 10_000 + slower), ("attention_prefill", 28_000), ("norm", 4000)]
    first = [("embedding", 5000), *((kind, ns + cold) for kind, ns in layer)]
    return [*first, *layer, ("index", 25_000), ("argmax", 17_000)]


def numbers(monkeypatch: pytest.MonkeyPatch, *steps: Launches) -> dict[str, int]:
    """What is told of a run with these steps of a model of two layers."""

    def timed(_run: object, _mode: str, watch: in_process.Stopwatch) -> None:
        watch.launches += [(0, ns, kind) for step in steps for kind, ns in step]

    watch = in_process.Stopwatch()  # one that keeps no device busy
    monkeypatch.setattr(in_process, "Stopwatch", lambda **_: watch)
    monkeypatch.setattr(in_process, "LAYERS", 2)
    monkeypatch.setattr(in_process, "_prefilling", lambda _length: None)
    monkeypatch.setattr(in_process, "_timed", timed)
    return in_process._launches(DECODE)


def test_a_prompt_whose_launches_take_as_long_as_decodes_costs_its_own_two_kinds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = numbers(monkeypatch, DECODE_STEP, prompt_step(cold=0, slower=0), DECODE_STEP)
    assert found == {"attention_prefill": 28_000, "index": 0}  # decode's 30 us hold 25 us that this step lacks


def test_cold_first_launches_are_paid_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    found = numbers(monkeypatch, prompt_step(cold=20_000, slower=0), DECODE_STEP)
    assert found == {"attention_prefill": 28_000, "index": 25_000 + 3 * 20_000 - 25_000}


def test_products_that_take_longer_to_launch_are_paid_with_each_layers_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = numbers(monkeypatch, prompt_step(cold=10_000, slower=1500))
    assert found == {"attention_prefill": 29_500, "index": 30_000}
