"""Pieces of prompts of known costs: the fit must find those again."""

from __future__ import annotations

from typing import Any

from gpu.calibration.fit_chunks import chunk_costs
from scenarios.profile import KernelCost

GAP = 0.25
PROVENANCE = {"gpu": "A GPU", "date": "2026-01-01"}


def row(tokens: int, start: int, attention: float, a_token: float, model: str = "llama-3.1-8b") -> dict[str, Any]:
    """A piece whose attention takes so long, and whose two gathers a microsecond and so much for each token."""
    gathers = 2 * (1.0 + GAP + a_token * (start + tokens))
    return {
        "model": model,
        "layers": 4,
        "tokens": tokens,
        "start": start,
        "us": attention + gathers,
        "gathers": gathers,
    }


def measured(*pieces: tuple[int, float]) -> dict[str, Any]:
    """Pieces of so many tokens, to which a cached one adds so many nanoseconds, over two contexts."""
    rows = [row(tokens, start, 40.0 + ns * start / 1000, 0.0016) for tokens, ns in pieces for start in (1000, 3000)]
    return {"provenance": PROVENANCE, "rows": rows}


def test_a_cached_token_costs_what_it_adds_by_blocks_on_a_multiprocessor() -> None:
    # 32 heads on 132 multiprocessors: 128 blocks, one each, and 256, up to two each
    found = chunk_costs(measured((512, 28.0), (1024, 46.0)), 132, GAP)["attention_cached"]
    assert found["table"] == [{"shape": [128], "points": [[1, "28us"], [2, "46us"]]}]
    assert "residual" not in found
    KernelCost.model_validate(found)


def test_four_blocks_on_a_multiprocessor_tell_how_well_turns_of_two_describe_them() -> None:
    found = chunk_costs(measured((512, 28.0), (1024, 46.0), (2048, 100.0)), 132, GAP)["attention_cached"]
    assert found["residual"] == "four and more as turns of two: worst 8.0% of 1"


def test_a_gather_reads_and_writes_every_token_of_a_piece_and_its_context() -> None:
    found = KernelCost.model_validate(chunk_costs(measured((512, 28.0), (1024, 46.0)), 132, GAP)["kv_read"])
    assert found.floor == 1000  # 1024 keys of two bytes, read and written: 4096 bytes in 1.6 ns
    assert found.bandwidth == 2_560_000_000_000
