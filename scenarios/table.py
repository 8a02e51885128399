"""What all tables of our files have in common, and the types that their values share.

A table is frozen, refuses keys it does not know and never coerces: "3" is no 3, and true is no 1. JSON
dumps write quantities with their units, so a dump reads like the file it came from.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, Strict

from scenarios import units

T = TypeVar("T")


class Table(BaseModel):
    """A TOML table with a schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Duration = Annotated[
    int,
    BeforeValidator(units.parse_duration),
    PlainSerializer(units.format_duration, when_used="json"),
    Field(description=units.DURATION),
]
"""Integer nanoseconds, written "4.2us"."""

Bytes = Annotated[
    int,
    BeforeValidator(units.parse_bytes),
    PlainSerializer(units.format_bytes, when_used="json"),
    Field(description=units.BYTES),
]
"""Integer bytes, written "16KiB"."""

Bandwidth = Annotated[
    int,
    BeforeValidator(units.parse_bandwidth),
    PlainSerializer(units.format_bandwidth, when_used="json"),
    Field(description=units.BANDWIDTH),
]
"""Integer bytes a second, written "4.3TB/s"."""

FlopRate = Annotated[
    int,
    BeforeValidator(units.parse_flop_rate),
    PlainSerializer(units.format_flop_rate, when_used="json"),
    Field(description=units.FLOP_RATE),
]
"""Integer floating-point operations a second, written "790TFLOP/s"."""

Frequency = Annotated[
    float,
    BeforeValidator(units.parse_frequency),
    PlainSerializer(units.format_frequency, when_used="json"),
    Field(description=units.FREQUENCY),
]
"""Events a second, written "4.5/s"."""

Count = Annotated[int, Field(ge=1)]
"""A number of things of which there is at least one."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""

# TOML arrays arrive as lists; only this outermost conversion is lax, the items stay strict.
Rows = Annotated[tuple[T, ...], Strict(strict=False)]
"""A list in the file, a tuple inside."""

NonEmpty = Annotated[tuple[T, ...], Strict(strict=False), Field(min_length=1)]
"""A list with at least one item."""
