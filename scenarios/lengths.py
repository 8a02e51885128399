"""How many tokens prompts and outputs have: always the same, or drawn from a distribution."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Strict, Tag, model_validator

from scenarios.errors import Refusal
from scenarios.table import Count, NonEmpty, Share, Table


def _inverse(points: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
    if any(a[0] >= b[0] or a[1] > b[1] for a, b in pairwise(points)):
        raise Refusal(points, "pairs whose shares rise and whose tokens never fall")
    if points[0][0] != 0 or points[-1][0] != 1:
        raise Refusal(points, "pairs that start at share 0 and end at share 1")
    return points


Quantile = Annotated[
    tuple[Share, Count], Strict(strict=False), Field(description="a pair of a share from 0 to 1 and a number of tokens")
]
Quantiles = Annotated[NonEmpty[Quantile], AfterValidator(_inverse)]
"""Shares of the requests that have at most so many tokens; straight lines in between."""


class Uniform(Table):
    """Every length from `low` to `high` as often."""

    kind: Literal["uniform"]
    low: Count
    high: Count

    @model_validator(mode="after")
    def _in_order(self) -> "Uniform":
        if self.low > self.high:
            raise Refusal(self.high, f"at least low ({self.low})", at=("high",))
        return self

    @property
    def longest(self) -> int:
        """The longest that can come."""
        return self.high


class Lognormal(Table):
    """Lengths whose logarithm is normal, by its `median` and standard deviation `sigma`, cut off at `most`."""

    kind: Literal["lognormal"]
    median: Count
    sigma: Annotated[float, Field(ge=0, le=10)]
    most: Count

    @property
    def longest(self) -> int:
        """The longest that can come."""
        return self.most


class Empirical(Table):
    """Lengths by their quantiles, as they are read off a trace: [[0, 3], [0.5, 1020], [1, 14050]]."""

    kind: Literal["empirical"]
    quantiles: Quantiles

    @property
    def longest(self) -> int:
        """The longest that can come."""
        return self.quantiles[-1][1]


class Range(Table):
    """The quantiles of outputs whose prompts have at most `up_to` tokens, and more than the range before."""

    up_to: Count
    quantiles: Quantiles


class ByContext(Table):
    """Outputs whose distribution depends on the length of their prompt; longer prompts than the last range's use it."""

    kind: Literal["by-context"]
    ranges: NonEmpty[Range]

    @model_validator(mode="after")
    def _in_order(self) -> "ByContext":
        ends = tuple(one.up_to for one in self.ranges)
        if any(a >= b for a, b in pairwise(ends)):
            raise Refusal(ends, "ranges whose up_to rises", at=("ranges",))
        return self

    @property
    def longest(self) -> int:
        """The longest that can come."""
        return max(one.quantiles[-1][1] for one in self.ranges)


def _form(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return "<tokens>"
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return f"<{kind}>" if isinstance(kind, str) else None


_TABLE = "an integer of at least 1, or a table with kind ="
_Tokens = Annotated[Count, Tag("<tokens>")]
_Uniform = Annotated[Uniform, Tag("<uniform>")]
_Lognormal = Annotated[Lognormal, Tag("<lognormal>")]
_Empirical = Annotated[Empirical, Tag("<empirical>")]
Lengths = Annotated[
    _Tokens | _Uniform | _Lognormal | _Empirical,
    Discriminator(_form),
    Field(description=f"{_TABLE} 'uniform', 'lognormal' or 'empirical'"),
]
"""Tokens of prompts."""
OutputLengths = Annotated[
    _Tokens | _Uniform | _Lognormal | _Empirical | Annotated[ByContext, Tag("<by-context>")],
    Discriminator(_form),
    Field(description=f"{_TABLE} 'uniform', 'lognormal', 'empirical' or 'by-context'"),
]
"""Tokens of outputs."""
