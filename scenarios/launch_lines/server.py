"""What a launch line says of a server, in a scenario's words."""

from dataclasses import dataclass, field
from typing import Any

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a scenario's `[engine]`, and the option or default that it comes from."""

    key: str
    value: Any
    why: str


@dataclass(slots=True)
class Server:
    """A server as it was launched. `model` is the line's own word for it; `notes` say what has no place in a scenario.

    `overlap` and `graphs` tell the mode it runs in. `ranks` GPUs share the model, `replicas` such servers share the
    requests, each with the option that says so; `router` is how.
    """

    model: str
    preset: str
    overlap: bool
    graphs: bool
    settings: list[Setting] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ranks: tuple[int, str] = (1, "")
    replicas: tuple[int, str] = (1, "")
    router: str = "round-robin"

    @property
    def mode(self) -> str:
        """The mode that the server runs in."""
        return f"{'overlap' if self.overlap else 'serial'}-{'graph' if self.graphs else 'eager'}"

    def set(self, key: str, value: Any, why: str) -> None:
        """Give a key of `[engine]` a value."""
        self.settings.append(Setting(key, value, why))
