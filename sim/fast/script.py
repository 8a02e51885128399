"""Straight code about times, written by making calls whose times are names.

Segments and device add times and take the later of two. Given names instead of numbers they write down what they do;
the text is compiled and does the same to numbers, without the calls between. Nothing here knows what a call does.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache, partial
from types import CodeType
from typing import Any

from sim.fast.launch_queue import NEVER
from sim.fast.refusal import OutsideError

PRICES = ("ns[", "rest[", "work[")
"""How the names of durations begin."""


class Script:
    """Statements, and the objects that they name.

    ``before`` are those that come first and hold for all others: loads of what was. ``sums`` of what does not change
    come next.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.before: list[str] = []
        self.sums: list[str] = []
        self.objects: dict[str, Any] = {"partial": partial}
        self._names: dict[int, str] = {}
        self._known: dict[object, Time] = {}
        self._constants: dict[str, str] = {}
        self._above: dict[str, dict[str, int]] = {}
        self._count = 0

    def keep(self, value: Any) -> str:
        """A name for an object."""
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"o{len(self.objects)}"
            self.objects[name] = value
        return name

    def fresh(self) -> str:
        """A name that nothing has."""
        self._count += 1
        return f"t{self._count}"

    def named(self, what: Time | str) -> Time:
        """A name for what an expression amounts to."""
        text = str(what)
        known = self._known.get(text)
        if known is None:
            name = self.fresh()
            self.lines.append(f"{name} = {text}")
            self._above[name] = self.above(what)
            known = self._known[text] = Time(self, (name,))
        return known

    def above(self, what: Any) -> dict[str, int]:
        """By how much, at least, a time is later than other names, as far as that is sure whatever they amount to."""
        if not isinstance(what, Time) or not what.grows:
            return {}
        found: dict[str, int] = {}
        for name in filter(str.isidentifier, what.names):
            for other, by in {name: 0, **self._above.get(name, {})}.items():
                found[other] = max(by + what.add, found.get(other, by + what.add))
        return found

    def covers(self, a: Any, b: Any) -> bool:
        """Whether a time is surely not before another."""
        if not isinstance(b, Time) or b.constant or len(b.names) != 1:
            return False
        by = self.above(a).get(b.names[0])
        return by is not None and by >= b.add

    def loaded(self, text: str) -> Time:
        """A name for what an expression amounts to before all statements."""
        name = self.fresh()
        self.before.append(f"{name} = {text}")
        return Time(self, (name,))

    def constant(self, text: str) -> str:
        """A name for a sum of what does not change."""
        name = self._constants.get(text)
        if name is None:
            name = self._constants[text] = f"c{len(self._constants)}"
            self.sums.append(f"{name} = {text}")
        return name

    def made(self, time: Time) -> bool:
        """Whether a time is a name that a statement gives a value."""
        return str(time) in self._above

    def copied(self, time: Time) -> Time:
        """Another name for a time."""
        name = self.fresh()
        self.lines.append(f"{name} = {time}")
        self._above[name] = self.above(time)
        return Time(self, (name,))

    def later(self, a: Any, b: Any) -> Any:
        """The larger of two times."""
        for one, other in ((a, b), (b, a)):
            if isinstance(one, int) and (one <= NEVER or isinstance(other, int)):
                return max(a, b) if isinstance(other, int) else other
            if self.covers(one, other):
                return one
        texts = frozenset((str(a), str(b)))
        known = self._known.get(texts)
        if known is None:
            one, other, found = self.name(a), self.name(b), self.fresh()
            self.lines.append(f"{found} = {one} if {one} > {other} else {other}")
            above = self._above[found] = self.above(a)
            for name, by in self.above(b).items():
                above[name] = max(by, above.get(name, by))
            known = self._known[texts] = Time(self, (found,))
        return known

    def name(self, time: Any) -> str:
        """A name for a time, or a number."""
        text = str(time)
        return text if text.isidentifier() or isinstance(time, int) else str(self.named(time))

    def compiled(self, header: str, lines: Sequence[str], shared: dict[Hashable, Any] | None = None) -> Any:
        """The function of this header and these lines; among those ``shared`` the one of the same text and objects."""
        source = "\n    ".join([header, *lines])
        key = source, tuple((name, id(value)) for name, value in self.objects.items())
        if shared is not None and key in shared:
            return shared[key]
        names = dict(self.objects)
        exec(_compiled(source), names)  # noqa: S102  written above, of names and numbers alone
        if shared is not None:
            shared[key] = names["run"]
        return names["run"]


@lru_cache(maxsize=512)
def _compiled(source: str) -> CodeType:
    """Points of a sweep that differ in their arrivals write the same code again."""
    return compile(source, "<straight>", "exec")


class Time:
    """A time as a sum: of names, of ``constant`` ones, and of a number to ``add``. Prices are no less than nothing."""

    __slots__ = ("_script", "add", "constant", "names")

    def __init__(self, script: Script, names: tuple[str, ...], constant: tuple[str, ...] = (), add: int = 0) -> None:
        self._script = script
        self.names = names
        self.constant = constant
        self.add = add

    def __str__(self) -> str:
        number = [str(self.add)] if self.add else []
        constant = " + ".join([*self.constant, *number])
        if len(self.constant) + len(number) > 1:
            constant = self._script.constant(constant)
        return " + ".join([*self.names, *([constant] if constant else [])]) or "0"

    @property
    def grows(self) -> bool:
        """Whether all that is added to a name is a price."""
        others = [name for name in self.names if not name.isidentifier()]
        return all(name.startswith(PRICES) for name in (*others, *self.constant))

    def __add__(self, other: Any) -> Time:
        if not isinstance(other, Time):
            return Time(self._script, self.names, self.constant, self.add + int(other))
        names = self.names + other.names
        both = Time(self._script, names, self.constant + other.constant, self.add + other.add)
        # a sum of prices is part of a longer sum; a time is used more than once
        return self._script.named(both) if any(map(str.isidentifier, names)) else both

    __radd__ = __add__

    def __mul__(self, count: int) -> Time:
        assert len(self.names) + len(self.constant) == 1
        assert not self.add
        many = "" if count == 1 else f" * {int(count)}"
        names, constant = (tuple(name + many for name in names) for names in (self.names, self.constant))
        return Time(self._script, names, constant)

    def _compared(self, other: object) -> bool:
        del other
        raise OutsideError("calls that go one way or another")

    __ge__ = __gt__ = __le__ = __lt__ = _compared
