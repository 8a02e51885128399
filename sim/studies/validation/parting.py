"""Where a predicted and a measured timeline part first, and which constant is to blame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sim.studies.validation.families import SERVER
from sim.studies.validation.lanes import Item, items_of
from sim.timeline.metrics import steady
from sim.timeline.spans import Timeline

STEPS = 2  # under overlap a step's kernels run behind the next step's launches
TOLERANCE = 0.01  # of a step
ALL_CALLS = "engine.framework and the calls of constants"
NOT_CALLS = {*SERVER, "wait for a step", "wait for the device"}


@dataclass(frozen=True, slots=True)
class Parting:
    """The first span whose start or length deviates, by so many nanoseconds, and the field that priced most of that."""

    span: str
    what: str
    deviation_ns: int
    constant: str

    def __str__(self) -> str:
        """Such as ``qkv_proj (kernels) starts 81.3 us late: kernels.gemm``."""
        if self.what == "missing":
            return f"{self.span} was not measured: {self.constant}"
        more, less = ("late", "early") if self.what == "starts" else ("too long", "too short")
        way = more if self.deviation_ns > 0 else less
        return f"{self.span} {self.what} {abs(self.deviation_ns) / 1000:,.1f} us {way}: {self.constant}"


def first_parting(predicted: Timeline, measured: Timeline, tolerance_ns: int | None = None) -> Parting | None:
    """Walk through the same steady steps of both (all of a program) in the order of the predicted starts.

    Each lane begins at 0 in both; a host thread's does not move on while it waits for the device. A span parts when its
    start or its length is off by more than ``tolerance_ns``, by default 1 % of the predicted step. What deviates until
    then is charged to the fields that priced it, and the one that has come to most is named: so a hundred kernels that
    are each a little too long are found as well as one that is far off. None when nothing parts.
    """
    steps = common_steps(predicted, measured)
    ours, theirs = items_of(predicted, steps), items_of(measured, steps)
    if not ours:
        return None
    if tolerance_ns is None:
        length = max(i.start + i.length for i in ours) - min(i.start for i in ours)
        tolerance_ns = round(TOLERANCE * length / (len(steps) or 1))
    pairs = [pair for lane in dict.fromkeys(i.lane for i in ours) for pair in _aligned(ours, theirs, lane)]
    bare_call = _launches_deviate_alike(pairs)
    blamed: Counter[str] = Counter()
    host: Counter[str] = Counter()  # what makes a host thread late, apart from waiting for the device
    for mine, other, shift in sorted(pairs, key=lambda pair: pair[0].start):
        span = f"{mine.name} ({mine.lane})"
        if other is None:
            return Parting(span, "missing", 0, "the lowering")
        longer = other.length - mine.length
        late = 0 if mine.is_copy else other.at - mine.at - shift  # a copy follows whoever waited before calling it
        constant = mine.family.priced_by if bare_call and mine.family.name == "launch" else mine.priced_by
        for charged in (blamed, host) if mine.on_host else (blamed,):
            charged[constant] += longer
            charged[mine.gap_priced_by] += other.gap - mine.gap
        if max(abs(longer), abs(late)) > tolerance_ns:
            charged = host if mine.on_host else blamed
            worst = max(charged, key=lambda constant: abs(charged[constant]))
            what, by = ("takes", longer) if abs(longer) > tolerance_ns else ("starts", late)
            explains = 2 * abs(charged[worst]) >= abs(by)
            return Parting(span, what, by, worst if explains else f"nothing that is priced alone (most: {worst})")
    return None


def common_steps(predicted: Timeline, measured: Timeline) -> range:
    """Two steps from the middle of those that are steady in both; none of a program."""
    found = [steady(timeline.deliveries) or timeline.deliveries for timeline in (predicted, measured)]
    common = sorted({d.step for d in found[0]} & {d.step for d in found[1]})
    middle = common[max(0, len(common) // 2 - 1)] if common else 0
    return range(middle, middle + STEPS) if common else range(0)


Pair = tuple[Item, Item | None, int]


def _launches_deviate_alike(pairs: Sequence[Pair]) -> bool:
    """Whether launches of several kinds deviate alike: then the bare call is off, not what the framework adds."""
    sums: dict[str, list[int]] = {}
    for mine, other, _ in pairs:
        if other is not None and mine.family.name == "launch":
            sums.setdefault(mine.priced_by, []).append(other.length - mine.length)
    means = sorted(sum(deviations) / len(deviations) for deviations in sums.values())
    if len(means) < 2 or means[0] * means[-1] <= 0:
        return False
    return min(map(abs, means)) > max(map(abs, means)) / 2


def _aligned(ours: Sequence[Item], theirs: Sequence[Item], lane: str) -> Iterator[Pair]:
    """Pairs of one lane in order, with what the lane's first span starts later by in the measured timeline.

    Where one has more spans of a family in a row than the other (a product as two kernels), each row counts as one;
    where the calls of a launch differ, or were not told apart, all of them do. A lane that was not measured at all, as
    a device without a profiler, is left out.
    """
    rows = [_rows(items, lane, lambda item: item.family.name) for items in (ours, theirs)]
    if lane.startswith("host") and [r[0].family.name for r in rows[0]] != [r[0].family.name for r in rows[1]]:
        rows = [_rows(items, lane, _or_call) for items in (ours, theirs)]
    mine, other = rows
    if not other:
        return
    shift = other[0][0].at - mine[0][0].at
    for number, row in enumerate(mine):
        match = other[number] if number < len(other) else None
        if match is None or _or_call(match[0]) != _or_call(row[0]):
            yield row[0], None, shift
            return
        both = zip(row, match, strict=True) if len(row) == len(match) else [(_joined(row), _joined(match))]
        yield from ((a, b, shift) for a, b in both)


def _or_call(item: Item) -> str:
    if item.on_host and item.family.name not in NOT_CALLS:
        return "call"
    return item.family.name


def _rows(items: Sequence[Item], lane: str, key: Callable[[Item], str]) -> list[list[Item]]:
    return [list(row) for _, row in groupby((item for item in items if item.lane == lane), key=key)]


def _joined(row: Sequence[Item]) -> Item:
    """A row of spans as one; where it holds several sorts of calls, none of them can be blamed alone."""
    first, last = row[0], row[-1]
    one = replace(first, length=last.at + last.length - first.at)
    if not first.on_host or len({item.family for item in row}) == 1:
        return one
    return replace(one, name=f"{len(row)} calls", priced_by=ALL_CALLS, gap_priced_by=ALL_CALLS)
