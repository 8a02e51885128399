"""Which partings of modes are near ties, from literal logits."""

from gpu.near_ties import near_ties


def test_modes_that_agree_part_nowhere() -> None:
    found = near_ties({"a": {0: [(5.0, 1.0)]}, "b": {0: [(5.1, 1.0)]}}, {"a": {0: [7]}, "b": {0: [7]}})
    assert (found.gaps, found.noise) == ({}, 5.1 - 5.0)
    assert str(found) == "tokens: all requests agree in all modes"


def test_a_parting_within_twice_the_noise_is_a_near_tie_and_nothing_after_it_counts() -> None:
    margins = {"a": {0: [(5.0, 1.0), (4.0, 3.9), (9.0, 0.0)]}, "b": {0: [(5.125, 1.0), (4.0, 3.8), (2.0, 1.0)]}}
    found = near_ties(margins, {"a": {0: [7, 8, 1]}, "b": {0: [7, 9, 2]}})
    assert found.gaps == {0: 4.0 - 3.9}
    assert found.noise == 0.125
    assert found.others == []
    assert "all at near ties: their best two logits are within 0.1, twice the noise of 0.125" in str(found)


def test_a_parting_where_one_token_is_clearly_better_is_told() -> None:
    margins = {"a": {0: [(5.0, 1.0)], 3: [(5.0, 1.0), (8.0, 1.0)]}, "b": {0: [(5.0, 1.0)], 3: [(5.0, 1.0), (8.0, 1.0)]}}
    found = near_ties(margins, {"a": {0: [7], 3: [1, 2]}, "b": {0: [7], 3: [1, 3]}})
    assert found.others == [3]
    assert "1 of them by more than twice the noise of 0" in str(found)
    assert "request 3 by 7" in str(found)
