"""Quantities survive being written and read, and nothing vague is let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios import units

SIZES = st.integers(min_value=0, max_value=2**63 - 1)
RATES = st.integers(min_value=1, max_value=2**63 - 1)


@given(SIZES)
def test_every_duration_survives_a_round_trip(ns: int) -> None:
    assert units.parse_duration(units.format_duration(ns)) == ns


@given(SIZES)
def test_every_size_survives_a_round_trip(size: int) -> None:
    assert units.parse_bytes(units.format_bytes(size)) == size


@given(RATES)
def test_every_rate_survives_a_round_trip(rate: int) -> None:
    assert units.parse_bandwidth(units.format_bandwidth(rate)) == rate
    assert units.parse_flop_rate(units.format_flop_rate(rate)) == rate


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_every_frequency_survives_a_round_trip(frequency: float) -> None:
    assert units.parse_frequency(units.format_frequency(frequency)) == frequency


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("4.2us", 4_200),
        ("4.2 µs", 4_200),
        ("10ms", 10_000_000),
        ("2s", 2_000_000_000),
        ("15ns", 15),
        ("0us", 0),
    ],
)
def test_a_duration_is_integer_nanoseconds(text: str, ns: int) -> None:
    assert units.parse_duration(text) == ns


def test_a_fraction_of_a_nanosecond_is_rounded_half_to_even() -> None:
    assert [units.parse_duration(text) for text in ("0.5ns", "1.5ns", "2.5ns", "2.51ns")] == [0, 2, 2, 3]


def test_sizes_and_rates_know_decimal_and_binary_units() -> None:
    assert units.parse_bytes("16KiB") == 16_384
    assert units.parse_bytes("1MB") == 1_000_000
    assert units.parse_bytes("139GiB") == 149_250_113_536
    assert units.parse_bandwidth("4.3TB/s") == 4_300_000_000_000
    assert units.parse_flop_rate("790TFLOP/s") == 790_000_000_000_000
    assert units.parse_frequency("270/min") == 4.5


def test_written_quantities_are_short() -> None:
    assert [units.format_duration(ns) for ns in (0, 15, 4_200, 1_234_567)] == [
        "0ns",
        "15ns",
        "4.2us",
        "1.234567ms",
    ]
    assert [units.format_bytes(size) for size in (0, 4, 1536, 4300)] == ["0B", "4B", "1.5KiB", "4.3KB"]
    assert units.format_duration(-4_200) == "-4.2us"
    assert units.format_bandwidth(4_300_000_000_000) == "4.3TB/s"
    assert units.format_flop_rate(790_000_000_000_000) == "790TFLOP/s"
    assert units.format_frequency(4.5) == "4.5/s"


@pytest.mark.parametrize("text", ["5", "-1us", "1 parsec", "us", "1e3us", "nan s", "1us 2us", "10000000000s", 5, True])
def test_what_is_no_duration_is_refused_with_the_form_it_should_have(text: object) -> None:
    with pytest.raises(ValueError, match=r"expected a duration with a unit, such as '4\.2us'"):
        units.parse_duration(text)


def test_a_part_of_a_byte_and_a_rate_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found '1\.5B', expected a whole number of bytes"):
        units.parse_bytes("1.5B")
    with pytest.raises(ValueError, match="expected a bandwidth above zero"):
        units.parse_bandwidth("0TB/s")
    with pytest.raises(ValueError, match="expected a frequency above zero"):
        units.parse_frequency("0/s")
