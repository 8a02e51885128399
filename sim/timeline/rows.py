"""Records kept as columns: one number a field, instead of one object a record."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
NARROW, WIDE = "i", "q"
"""Integers of 4 and of 8 bytes."""
BLOCK = 1024
"""Records that wait, at most, until they are put into columns together."""


class Rows(Sequence[T], Generic[T]):
    """A sequence of records of one dataclass whose fields are integers, truth values or other objects.

    Records are made as they are read; millions of them take 4 bytes a field, or 8 where numbers are large. It is equal
    to any sequence of equal records.
    """

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __init__(self, kind: type[T], records: Iterable[T] = ()) -> None:
        self._kind = kind
        self._fields = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
        self._settled: list[Any] = [
            array(NARROW) if type_ in ("int", "bool") else [] for type_ in self._fields.values()
        ]
        self._shared = False
        self._new: list[tuple[Any, ...]] = []
        self._truths = [i for i, type_ in enumerate(self._fields.values()) if type_ == "bool"]
        for record in records:
            self.append(record)

    def append(self, record: T) -> None:
        """Add a record."""
        self.add(*(getattr(record, name) for name in self._fields))

    def add(self, *values: Any) -> None:
        """Add a record by the values of all its fields, in their order."""
        self._new.append(values)
        if len(self._new) == BLOCK:
            self._settle()

    def add_all(self, records: Sequence[tuple[Any, ...]]) -> None:
        """Add records by the values of all their fields."""
        self._new += records
        if len(self._new) >= BLOCK:
            self._settle()

    def _settle(self) -> None:
        self._own()
        for at, values in enumerate(zip(*self._new, strict=True)):
            self._grow(at, values)
        self._new.clear()

    def _own(self) -> None:
        """Before they grow, take columns that a copy has, too, for itself."""
        if self._shared:
            self._settled, self._shared = [column[:] for column in self._settled], False

    def _grow(self, at: int, values: Sequence[Any]) -> None:
        column, length = self._settled[at], len(self._settled[at])
        try:
            column.extend(values)
        except OverflowError:
            self._settled[at] = array(WIDE, column[:length])
            self._settled[at].extend(values)

    @property
    def _columns(self) -> list[Any]:
        if self._new:
            self._settle()
        return self._settled

    def extend(self, count: int, *values: Any) -> None:
        """Add so many records: of each field an array of as many integers, or one value that all of them have."""
        for at, (_, value) in enumerate(zip(self._columns, values, strict=True)):
            self._own()
            self._grow(at, value.tolist() if isinstance(value, np.ndarray) else [value] * count)

    def column(self, name: str) -> npt.NDArray[np.int64]:
        """One field of all records, which must be integers or truth values."""
        return np.array(self._columns[list(self._fields).index(name)], dtype=np.int64)

    def copy(self) -> Rows[T]:
        """The same records, which do not grow with these."""
        other = Rows(self._kind)
        other._settled = list(self._columns)
        other._shared = self._shared = True
        return other

    def __len__(self) -> int:
        return len(self._settled[0]) + len(self._new)

    def __iter__(self) -> Iterator[T]:
        return map(self._record, *self._columns)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return list(map(self._record, *(column[at] for column in self._columns)))
        return self._record(*(column[at] for column in self._columns))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows):
            return self._fields == other._fields and self._columns == other._columns
        if isinstance(other, Sequence):
            return list(self) == list(other)
        return NotImplemented

    def __repr__(self) -> str:
        return repr(list(self))

    def _record(self, *values: Any) -> T:
        if self._truths:
            values = tuple(bool(v) if i in self._truths else v for i, v in enumerate(values))
        return self._kind(*values)
