"""What an H100 measured of the loops of other engines, beside what is predicted of them."""

from __future__ import annotations

from sim.studies.validation.results_file import read_results
from sim.studies.validation.shipped import results_path
from sim.studies.validation.summary import Summary


def test_a_second_host_thread_costs_a_small_model_what_was_predicted() -> None:
    path = results_path("nvidia-h100", "loops")
    assert path is not None
    results = read_results(path)
    cases = {c.name.removeprefix("decode-qwen3-0.6b ").removesuffix(" profile=nvidia-h100"): c for c in results.cases}
    assert len(cases) == 24
    one = "loop=forward-thread output_tokens=32 buckets=[16] profile=nvidia-h100"
    serial, overlap = (cases[f"{one} {mode}"] for mode in ("serial-eager", "overlap-eager"))
    assert serial.measured / overlap.measured < 0.9
    assert serial.predicted_in_process_ns is not None
    assert overlap.predicted_in_process_ns is not None
    predicted = serial.predicted_in_process_ns / overlap.predicted_in_process_ns
    assert abs(predicted / (serial.measured / overlap.measured) - 1) < 0.03


def test_in_process_host_costs_predict_the_loops_within_five_per_cent() -> None:
    path = results_path("nvidia-h100", "loops")
    assert path is not None
    scores = {score.predictor.name: score for score in Summary.of("", read_results(path)).scores}
    own = scores["in-process host costs"]
    assert own.plain["all"].mean < 0.05
    assert own.speedups is not None
    assert own.verdicts.right >= own.verdicts.of - 3
