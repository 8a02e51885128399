"""When requests arrive and how long they are: literal times, moments, and draws that do not move one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenarios.workload import Workload
from sim.studies.arrivals import arrivals
from sim.studies.draws import outputs, prompts
from sim.studies.trace import arrange, read_trace
from sim.studies.workload import build_source

S = 1_000_000_000


def workload(**fields: Any) -> Workload:
    return Workload.model_validate({"context": 5, "output_tokens": 7, "requests": 1, **fields})


def times(count: int, seed: int = 1, **fields: Any) -> list[int]:
    found: list[int] = arrivals(workload(**fields), seed, count).tolist()
    return found


def test_a_constant_rate_has_one_interval() -> None:
    assert times(3, rate="4/s", arrivals="constant") == [S // 4, S // 2, 3 * S // 4]


def test_a_ramp_solves_for_the_time_at_which_so_many_are_expected() -> None:
    ramp = [["0s", 0.0], ["2s", 1.0]]  # after t seconds t^2 / 4 requests, from 2 s on one a second
    assert times(3, rate="1/s", arrivals="constant", ramp=ramp) == [2 * S, 3 * S, 4 * S]
    assert times(4, rate="4/s", arrivals="constant", ramp=ramp) == [S, round(2**0.5 * S), round(3**0.5 * S), 2 * S]
    falling = [["0s", 2.0], ["1s", 2.0], ["1s", 0.5]]  # two in the first second, then one every two
    assert times(4, rate="1/s", arrivals="constant", ramp=falling) == [S // 2, S, 3 * S, 5 * S]


def test_a_profile_puts_its_shares_into_its_intervals_and_begins_again() -> None:
    profile = {"every": "1s", "counts": [3, 0, 1]}
    found = times(8, rate="1.3333333333333333/s", arrivals="constant", profile=profile)
    assert [t / S for t in found] == pytest.approx([1 / 3, 2 / 3, 2, 3, 3 + 1 / 3, 3 + 2 / 3, 5, 6], abs=1e-6)
    open_ = np.array(times(4_000, rate="40/s", profile=profile)) / S
    assert ((open_ % 3 < 1) | (open_ % 3 >= 2)).all()
    assert np.count_nonzero(open_ % 3 < 1) / len(open_) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize(("burstiness", "cv"), [(1.0, 1.0), (0.25, 2.0), (4.0, 0.5)])
def test_gamma_intervals_have_the_mean_of_the_rate_and_the_burstiness_asked_for(burstiness: float, cv: float) -> None:
    intervals = np.diff(times(20_000, rate="10/s", arrivals="gamma", burstiness=burstiness))
    assert intervals.mean() == pytest.approx(S / 10, rel=0.05)
    assert intervals.std() / intervals.mean() == pytest.approx(cv, rel=0.05)


@pytest.mark.parametrize("fields", [{}, {"arrivals": "gamma", "burstiness": 0.5}], ids=["poisson", "gamma"])
def test_another_rate_has_the_same_arrivals_closer_together(fields: dict[str, Any]) -> None:
    slow, fast = (np.array(times(50, rate=rate, **fields)) for rate in ("1/s", "10/s"))
    assert np.abs(slow - 10 * fast).max() <= 10
    squeezed = np.array(times(50, rate="1/s", rate_scale=10.0, **fields))
    assert np.abs(squeezed - fast).max() <= 1


def test_more_requests_leave_the_first_ones_as_they_are() -> None:
    few, many = (
        build_source(workload(rate="1/s", requests=n, context=BROAD, output_tokens=BROAD), seed=2).take(1 << 62)
        for n in (10, 100)
    )
    assert many[:10] == few


BROAD = {"kind": "lognormal", "median": 100, "sigma": 1.0, "most": 5_000}


def lengths(context: Any, output: Any = 1, count: int = 20_000) -> tuple[Any, Any]:
    found = workload(rate="1/s", context=context, output_tokens=output)
    assert found.context is not None
    assert found.output_tokens is not None
    drawn = prompts(found.context, 3, count)
    return drawn, outputs(found.output_tokens, 3, drawn)


def test_lengths_have_the_distribution_asked_for() -> None:
    fixed, uniform = lengths(5, {"kind": "uniform", "low": 3, "high": 6})
    assert set(fixed) == {5}
    assert np.bincount(uniform)[3:] / len(uniform) == pytest.approx([0.25] * 4, abs=0.01)
    lognormal, empirical = lengths(BROAD, {"kind": "empirical", "quantiles": [[0.0, 1], [0.5, 11], [1.0, 11]]})
    assert np.quantile(lognormal, [0.1587, 0.5, 0.8413]) == pytest.approx([100 / np.e, 100, 100 * np.e], rel=0.03)
    assert lognormal.max() <= 5_000
    assert np.quantile(empirical, [0, 0.25, 0.5, 1]) == pytest.approx([1, 6, 11, 11], abs=0.2)


def test_outputs_can_depend_on_their_prompts() -> None:
    ranges = [{"up_to": 10, "quantiles": [[0.0, 1], [1.0, 1]]}, {"up_to": 20, "quantiles": [[0.0, 2], [1.0, 2]]}]
    contexts, found = lengths({"kind": "uniform", "low": 1, "high": 30}, {"kind": "by-context", "ranges": ranges})
    assert (found == np.where(contexts <= 10, 1, 2)).all()


def test_prompts_and_outputs_are_drawn_apart() -> None:
    contexts, found = lengths(BROAD, BROAD)
    assert abs(np.corrcoef(np.log(contexts), np.log(found))[0, 1]) < 0.02


def mooncake(folder: Path, *stamps: int) -> Workload:
    path = folder / "t.jsonl"
    path.write_text(
        "".join(f'{{"timestamp": {t}, "input_length": {i + 1}, "output_length": 2}}\n' for i, t in enumerate(stamps))
    )
    return Workload.model_validate({"trace": str(path)})


def arranged(found: Workload, **changes: Any) -> list[tuple[int, int]]:
    """(arrival, row) of what a workload takes of its trace."""
    rows = read_trace(Path(str(found.trace)))
    return [(r.arrival, r.row) for r in arrange(rows, found.model_copy(update=changes), seed=1)]


def test_a_window_counts_from_its_begin_and_requests_cut_it_short(tmp_path: Path) -> None:
    found = mooncake(tmp_path, 1_000, 2_000, 3_000, 4_000)
    assert arranged(found, window=(S, 3 * S)) == [(0, 2), (S, 3)]
    assert arranged(found, window=(S, 3 * S), requests=1, rate_scale=4.0) == [(0, 2)]
    assert arranged(found, rate_scale=4.0) == [(0, 1), (S // 4, 2), (S // 2, 3), (3 * S // 4, 4)]


def test_quantised_stamps_are_spread_inside_their_step(tmp_path: Path) -> None:
    found = mooncake(tmp_path, *[0] * 50, *[3_000] * 50)
    spread = arranged(found, spread=3 * S)
    assert len({t for t, _ in spread}) == 100
    assert [t for t, _ in spread] == sorted(t for t, _ in spread)
    assert all(0 <= t < 3 * S for t, row in spread if row <= 50)
    assert all(3 * S <= t < 6 * S for t, row in spread if row > 50)
    early = {row: t for t, row in arranged(found, spread=3 * S, window=(0, 3 * S))}
    assert early == {row: t for t, row in spread if row <= 50}


SHARED = Path(__file__).parents[4] / "shared/workloads"
published = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the published traces are not in {SHARED}")


@published
@pytest.mark.parametrize(
    ("name", "count", "seconds", "context", "tokens"),
    [
        ("AzureLLMInferenceTrace_code.csv", 8_819, 3_435.9, 2_047.8, 27.9),
        ("AzureLLMInferenceTrace_conv.csv", 19_366, 3_501.7, 1_154.7, 211.1),
        ("mooncake_conversation_trace.jsonl", 12_031, 3_537, 12_035.1, 342.6),
        ("mooncake_synthetic_trace.jsonl", 3_993, 1_022, 15_325.5, 149.1),
    ],
)
def test_the_published_traces_are_read_whole(
    name: str, count: int, seconds: float, context: float, tokens: float
) -> None:
    rows = arrange(read_trace(SHARED / name), Workload(trace=name), seed=0)
    assert len(rows) == count
    assert (rows[0].arrival, rows[-1].arrival / S) == (0, pytest.approx(seconds, abs=1))
    assert np.mean([r.context for r in rows]) == pytest.approx(context, abs=0.1)
    assert np.mean([r.tokens for r in rows]) == pytest.approx(tokens, abs=0.1)
    hashed = name.startswith("mooncake")
    assert all(len(r.hash_ids) == (-(-r.context // 512) if hashed else 0) for r in rows)
