"""When graphs do not pay: changing batches, memory, and what the takeaways sum up."""

from __future__ import annotations

import pytest
from chapter_labs import lab, labs

from sim.cli import main
from sim.studies.chapter import takeaways
from sim.studies.chapter.claim import Verdict
from sim.studies.chapter.limits import blocks_lost, judged_lists, tokens_per_s
from sim.studies.chapter.outcomes import labs_of, outcomes_of
from sim.studies.chapter.takeaways import BY_NAME


def test_of_a_changing_batch_a_single_large_graph_pads_and_small_ones_leave_steps_eager() -> None:
    found = judged_lists(lab())
    assert found["only 64"].padding > found["the engine's 35"].padding
    assert found["only 64"].eager == found["the engine's 35"].eager == 0
    assert found["up to 16"].eager > 0


def test_blocks_that_graphs_hold_are_missing_from_the_cache_and_cost_throughput() -> None:
    lost = blocks_lost(lab())
    assert 0 < lost["this engine's"] < lost["vLLM's"] == -(-0.96 * 2**30 // (16 * 131_072))
    full, less = (tokens_per_s(lab(), "overlap-graph", blocks) for blocks in (2640, 2640 - lost["vLLM's"]))
    assert less < 0.95 * full


def test_a_takeaway_is_as_its_claims_are() -> None:
    claim = next(c for c in takeaways.CLAIMS if c.name == "futures-speculate")
    verdicts = {BY_NAME[name].look(lab()).verdict for name in ("five-steps-of-slots", "what-slots-cost")}
    assert claim.look(lab()).verdict == verdicts.pop() == Verdict.HOLDS


def test_other_cards_show_what_they_measured_beside_their_own_prediction() -> None:
    claim = BY_NAME["device-waits"]
    assert [one.profile for one in labs_of("nvidia-h200")] == ["nvidia-h200", "nvidia-h100"]
    assert [one.profile for one in labs()] == ["nvidia-h100"]
    (outcome,) = outcomes_of([claim], labs_of("nvidia-h200"))
    assert outcome.finding.measured == ""
    assert outcome.command == claim.command
    (card, found), *_ = outcome.elsewhere.items()
    assert card.startswith("NVIDIA H100")
    assert found.predicted != outcome.finding.predicted
    assert max(found.errors) < 0.1
    (own,) = outcomes_of([claim], labs())
    assert own.finding == found
    assert own.command == f"{claim.command} --set hardware.profile=nvidia-h100"


def test_a_profile_that_is_not_shipped_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chapter", "device-waits", "--profile", "nvidia-h1000"]) == 2
    assert "--profile: found 'nvidia-h1000', expected a shipped profile: 'nvidia-h100'" in capsys.readouterr().err
