"""What a schema says about a place in a file: which keys are there, and which value is expected.

Messages are written from this, not from pydantic's error text: whatever was wrong with a value, the user
reads what belongs there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo

from scenarios.errors import Place, dotted, joined, listed


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a schema: its type without Annotated and None around it, and what annotated it."""

    kind: Any
    metadata: tuple[Any, ...] = ()
    description: str = ""

    @classmethod
    def of(cls, annotation: Any, metadata: tuple[Any, ...] = (), description: str = "") -> "Spot":
        """Peel Annotated and `| None` off a type."""
        if get_origin(annotation) is Annotated:
            inner, *extra = get_args(annotation)
            fields = [item for item in extra if isinstance(item, FieldInfo)]
            said = [item.description for item in fields if item.description]
            flat = [limit for item in fields for limit in item.metadata]
            return cls.of(inner, (*metadata, *extra, *flat), description or "".join(said[-1:]))
        if get_origin(annotation) in (Union, UnionType):
            members = [member for member in get_args(annotation) if member is not NoneType]
            if len(members) == 1:
                return cls.of(members[0], metadata, description)
        return cls(annotation, metadata, description)

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """The keys of a table with a schema; nothing for other values."""
        is_table = isinstance(self.kind, type) and issubclass(self.kind, BaseModel)
        return self.kind.model_fields if is_table else {}

    @property
    def is_list(self) -> bool:
        """Whether a list of any length belongs here."""
        return get_origin(self.kind) is tuple and get_args(self.kind)[-1] is Ellipsis

    def below(self, part: str | int) -> "Spot":
        """Step to a key, a list position, or (in angle brackets) a member of a tagged union."""
        if part in self.fields:
            field = self.fields[str(part)]
            return Spot.of(field.annotation, tuple(field.metadata), field.description or "")
        arguments = get_args(self.kind)
        if get_origin(self.kind) is dict:
            return Spot.of(arguments[1])
        if get_origin(self.kind) is tuple:
            return Spot.of(arguments[0] if self.is_list else arguments[int(part)])
        for member in arguments:
            if Tag(str(part)) in get_args(member):
                return Spot.of(member)
        return Spot(object)

    def expected(self) -> str:
        """Say what belongs here: "an integer of at least 1", "a table with value and source"."""
        if self.description:
            return self.description
        if get_origin(self.kind) is Literal:
            return listed(get_args(self.kind))
        if get_origin(self.kind) is tuple:
            return "a list with at least one item" if self._limit(MinLen, "min_length") else "a list"
        if self.fields:
            required = [name for name, field in self.fields.items() if field.is_required()]
            return f"a table with {joined(required, 'and')}" if required else "a table"
        simple = {bool: "true or false", str: "a string", int: "an integer", float: "a number"}
        return simple.get(self.kind, "a table") + self._range()

    def _range(self) -> str:
        above, least, most = self._limit(Gt, "gt"), self._limit(Ge, "ge"), self._limit(Le, "le")
        low = f"above {above}" if above is not None else f"of at least {least}" if least is not None else ""
        high = f"at most {most}" if most is not None else ""
        text = " and ".join(part for part in (low, high) if part)
        return f" {text}" if text else ""

    def _limit(self, limit: type, attribute: str) -> Any:
        return next((getattr(item, attribute) for item in self.metadata if isinstance(item, limit)), None)


def locate(schema: type[BaseModel], place: Place) -> Spot:
    """Return what the schema says at a place; tags of unions are part of the place."""
    spot = Spot.of(schema)
    for part in place:
        spot = spot.below(part)
    return spot


def keys(spot: Spot, place: Place = ()) -> Iterator[str]:
    """Every dotted key at and below a table, down to lists and unions."""
    for name in spot.fields:
        here = (*place, name)
        yield dotted(here)
        yield from keys(spot.below(name), here)
