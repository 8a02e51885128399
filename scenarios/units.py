"""Quantities as people write them, and the integers that everything inside computes with.

Durations are integer nanoseconds, sizes integer bytes, rates integers a second; only request frequencies
are floats. All are parsed and formatted here and nowhere else. Arithmetic is exact: a duration below a
nanosecond is rounded half to even, a fraction of a byte is refused. Every parser raises `Refusal` (a
`ValueError`) on a bare number, an unknown unit, a negative value or a value beyond 63 bits, which no
column of a timeline could hold.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from scenarios.errors import Refusal

DURATION = "a duration with a unit, such as '4.2us'"
BYTES = "a whole number of bytes with a unit, such as '16KiB'"
BANDWIDTH = "a bandwidth above zero with a unit, such as '4.3TB/s'"
FLOP_RATE = "a compute rate above zero with a unit, such as '790TFLOP/s'"
FREQUENCY = "a frequency above zero with a unit, such as '4.5/s' or '270/min'"

_DURATIONS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "µs": 1_000, "ns": 1}
_BYTES = {
    "TiB": 1 << 40,
    "TB": 10**12,
    "GiB": 1 << 30,
    "GB": 10**9,
    "MiB": 1 << 20,
    "MB": 10**6,
    "KiB": 1 << 10,
    "KB": 1000,
    "B": 1,
}
_BANDWIDTHS = {f"{unit}/s": size for unit, size in _BYTES.items()}
_FLOP_RATES = {f"{prefix}FLOP/s": 10**power for prefix, power in zip("PTGMK", (15, 12, 9, 6, 3), strict=True)}
_FLOP_RATES["FLOP/s"] = 1
_FREQUENCIES = {"/s": Fraction(1), "/min": Fraction(1, 60), "/h": Fraction(1, 3600)}

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ/]+)")
_LIMIT = 1 << 63


def parse_duration(text: object) -> int:
    """Nanoseconds of "4.2us", "10ms", "2s" or "15ns"."""
    return _within(round(_parse(text, _DURATIONS, DURATION)), text, DURATION)


def parse_bytes(text: object) -> int:
    """Bytes of "4B", "16KiB" (1024) or "1MB" (10^6)."""
    size = _parse(text, _BYTES, BYTES)
    if size.denominator != 1:
        raise Refusal(text, BYTES)
    return _within(int(size), text, BYTES)


def parse_bandwidth(text: object) -> int:
    """Bytes a second of "4.3TB/s"."""
    return _within(round(_parse(text, _BANDWIDTHS, BANDWIDTH)), text, BANDWIDTH, lowest=1)


def parse_flop_rate(text: object) -> int:
    """Floating-point operations a second of "790TFLOP/s"."""
    return _within(round(_parse(text, _FLOP_RATES, FLOP_RATE)), text, FLOP_RATE, lowest=1)


def parse_frequency(text: object) -> float:
    """Events a second of "4.5/s" or "270/min"."""
    frequency = float(_parse(text, _FREQUENCIES, FREQUENCY))
    if frequency == 0:
        raise Refusal(text, FREQUENCY)
    return frequency


def format_duration(ns: int) -> str:
    """Write nanoseconds in the largest unit they fill, with every digit: 4200 is "4.2us"."""
    if ns < 0:
        return f"-{format_duration(-ns)}"
    unit = next((unit for unit, size in _DURATIONS.items() if ns >= size), "ns")
    return _decimal(ns, _DURATIONS[unit]) + unit


def format_bytes(size: int) -> str:
    """Write bytes in the largest unit that needs at most two decimals: 16384 is "16KiB", 4300 "4.3KB"."""
    return _shortest(size, _BYTES)


def format_bandwidth(rate: int) -> str:
    """Write bytes a second so that `parse_bandwidth` gives them back."""
    return _shortest(rate, {f"{unit}/s": factor for unit, factor in _BYTES.items() if "i" not in unit})


def format_flop_rate(rate: int) -> str:
    """Write operations a second so that `parse_flop_rate` gives them back."""
    return _shortest(rate, _FLOP_RATES)


def format_frequency(frequency: float) -> str:
    """Write events a second so that `parse_frequency` gives them back."""
    # Decimal writes the shortest digits that float() reads back, without an exponent
    return f"{Decimal(repr(frequency)):f}/s".replace(".0/s", "/s")


def _parse(text: object, units: Mapping[str, int | Fraction], expected: str) -> Fraction:
    match = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[2] not in units:
        raise Refusal(text, expected)
    return Fraction(match[1]) * units[match[2]]


def _within(value: int, text: object, expected: str, lowest: int = 0) -> int:
    if not lowest <= value < _LIMIT:
        raise Refusal(text, expected)
    return value


def _shortest(value: int, units: Mapping[str, int]) -> str:
    for unit, size in units.items():
        if value >= size and (100 * value) % size == 0:
            return _decimal(value, size) + unit
    return f"{value}{list(units)[-1]}"


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    digits = ""
    while rest:
        digit, rest = divmod(10 * rest, size)
        digits += str(digit)
    return f"{whole}.{digits}" if digits else str(whole)
