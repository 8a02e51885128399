"""Measured curves: how repeats join, and how far a point lies from what its neighbours say."""

from gpu.calibration.fit_tables import Curves, curves, left_out, left_out_of_grid, tables


def test_a_left_out_point_is_missed_by_how_far_it_lies_off_the_line() -> None:
    bent: Curves = {(8,): ((1, 1000), (2, 4000), (3, 3000)), (9,): ((1, 5), (2, 6))}
    assert left_out(bent) == [-0.5]
    flat = ((1, 1000), (2, 1000), (3, 1000))
    grid: Curves = {(8, 2, 64, 1): flat, (8, 2, 64, 4): ((1, 7), (2, 500), (3, 7)), (8, 2, 64, 8): flat}
    assert left_out_of_grid(grid) == [1.0]


def test_a_shape_measured_twice_gets_the_mean() -> None:
    measured = curves([((8,), 2, 3.0), ((8,), 1, 2.0), ((8,), 2, 4.0)])
    assert tables(measured) == [{"shape": [8], "points": [[1, "2us"], [2, "3.5us"]]}]
