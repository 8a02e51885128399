"""The requests of a serving scenario: when they arrive, and how many tokens they have."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from scenarios.errors import MISSING, Bare, Refusal, Refusals
from scenarios.lengths import Lengths, OutputLengths
from scenarios.table import Count, Duration, Frequency, NonEmpty, Share, Table

FORMS = ("batch", "clients", "rate", "trace")
"""Keys that each say how requests come; a workload has exactly one of them."""
BESIDE: dict[str, tuple[str, ...]] = {
    "batch": (),
    "clients": ("requests", "think", "shared_prefix"),
    "rate": ("requests", "arrivals", "burstiness", "ramp", "profile", "rate_scale", "shared_prefix"),
    "trace": ("requests", "window", "spread", "rate_scale"),
}
"""What may stand beside each form, on top of lengths and stops."""
Arrivals = Literal["poisson", "gamma", "constant"]
Factor = Annotated[float, Field(ge=0, le=1e6)]


def _rising(points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    if points[0][0] != 0 or any(a[0] > b[0] for a, b in pairwise(points)) or points[-1][1] <= 0:
        raise Refusal(points, "pairs from '0s' on whose times never fall, the last with a factor above 0")
    return points


RampPoint = Annotated[
    tuple[Duration, Factor], Strict(strict=False), Field(description="a pair of a time and a factor of at least 0")
]


class Profile(Table):
    """The rate over time as a histogram: how many requests come in each interval of `every`, relative to the others.

    The mean over the histogram is the workload's `rate`; after its end it begins again.
    """

    every: Annotated[Duration, Field(gt=0)]
    counts: NonEmpty[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _not_empty(self) -> "Profile":
        if not sum(self.counts):
            raise Refusal(self.counts, "at least one count above 0", at=("counts",))
        return self


class SharedPrefix(Table):
    """What prompts begin with: each with that of one of so many `groups`, drawn for it, `tokens` long."""

    groups: Count
    tokens: Annotated[int, Field(ge=512)]


class Workload(Table):
    """The requests, in one of four forms.

    `batch`: closed, all requests are there at the start with their context already computed. `clients`: a closed loop,
    each of so many clients sends its next request `think` after its last one's final token, until `requests` have been
    sent. `rate`: open, `requests` of them arrive on their own. `trace`: a CSV or JSONL file says when they arrive and
    how long they are; `requests`, if given, cuts it short, and `context` and `output_tokens` are then without effect.

    Open arrivals are a Poisson process, of a constant interval, or have Gamma-distributed intervals of shape
    `burstiness` (as vLLM's benchmark calls it: 1 is Poisson, below it bursts). `ramp` multiplies the rate by a factor
    over time, on straight lines from pair to pair and constant after the last; `profile` shapes it by a histogram.
    `rate_scale` compresses the time of all arrivals. Of a trace `window` takes what comes from one time to another,
    and `spread` scatters requests whose stamps were rounded down to steps of this length over the step.

    Prompts begin alike as far as a trace's `hash_ids` say, or with a `shared_prefix`; a prompt shorter than that begins
    with as much of it. What is alike is counted in pieces of 512 tokens.

    `stop_share` of the requests end by a stop token rather than by length. Where `max_tokens` is given, clients set
    this limit, and a request that stops has the `output_tokens` drawn or traced for it; else it stops at a random
    position of these.
    """

    batch: Count | None = None
    clients: Count | None = None
    rate: Frequency | None = None
    trace: str | None = None
    requests: Count | None = None
    think: Duration = 0
    arrivals: Arrivals = "poisson"
    burstiness: Annotated[float, Field(gt=0, le=1e6)] | None = None
    ramp: Annotated[NonEmpty[RampPoint], AfterValidator(_rising)] | None = None
    profile: Profile | None = None
    rate_scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    window: Annotated[tuple[Duration, Duration], Strict(strict=False)] | None = None
    spread: Duration = 0
    context: Lengths | None = None
    output_tokens: OutputLengths | None = None
    shared_prefix: SharedPrefix | None = None
    stop_share: Share = 0.0
    max_tokens: Count | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Workload":
        forms = [name for name in FORMS if getattr(self, name) is not None]
        if not forms:
            raise Refusal(MISSING, "one of 'batch', 'clients', 'rate' or 'trace'")
        refusals = [Refusal(getattr(self, name), f"no such key beside {forms[0]!r}", at=(name,)) for name in forms[1:]]
        refusals += self._strangers(forms[0])
        refusals += self._missing(forms[0])
        if self.window is not None and self.window[0] >= self.window[1]:
            refusals.append(Refusal(self.window, "two times, the second later", at=("window",)))
        if refusals:
            raise Refusals(refusals)
        return self

    def _strangers(self, form: str) -> list[Refusal]:
        """Keys that belong to other forms."""
        others = {key for keys in BESIDE.values() for key in keys} - set(BESIDE[form])
        found = self.model_dump(mode="json", include=others, exclude_defaults=True)
        return [Refusal(value, f"no such key beside {form!r}", at=(key,)) for key, value in found.items()]

    def _missing(self, form: str) -> list[Refusal]:
        refusals = []
        if form in ("rate", "clients") and self.requests is None:
            refusals.append(Refusal(MISSING, f"an integer of at least 1, as {form!r} is set", at=("requests",)))
        for key in ("context", "output_tokens"):
            found = getattr(self, key)
            if form != "trace" and found is None:
                refusals.append(Refusal(MISSING, f"an integer of at least 1, as {form!r} is set", at=(key,)))
            if form == "batch" and found is not None and not isinstance(found, int):
                refusals.append(Refusal(Bare(f"kind {found.kind!r}"), "an integer beside 'batch'", at=(key,)))
        if (self.arrivals == "gamma") != (self.burstiness is not None):
            expected = "a number above 0, as arrivals is 'gamma'"
            found, told = (
                (MISSING, expected)
                if self.burstiness is None
                else (self.burstiness, "it only beside arrivals = 'gamma'")
            )
            refusals.append(Refusal(found, told, at=("burstiness",)))
        if self.ramp is not None and self.profile is not None:
            refusals.append(Refusal(Bare("both"), "no 'profile' beside 'ramp'", at=("profile",)))
        return refusals

    @property
    def closed(self) -> bool:
        """Whether all requests are there at the start."""
        return self.batch is not None

    @property
    def longest_context(self) -> int:
        """The longest prompt that can come; of a trace, which has its own, 1."""
        return _longest(self.context)

    @property
    def longest_output(self) -> int:
        """The longest output that can come; of a trace, which has its own, 1."""
        return _longest(self.output_tokens)


def _longest(lengths: "Lengths | OutputLengths | None") -> int:
    return lengths if isinstance(lengths, int) else 1 if lengths is None else lengths.longest
