"""Events as CUDA has them: recorded in a stream, waited for by streams and host threads."""

from __future__ import annotations

from collections.abc import Callable


class Mark:
    """One record of an event. ``time`` is when it fires, known as soon as nothing can change it any more.

    The time may lie in the future: a host thread may have enqueued the record ahead of the virtual clock.
    """

    __slots__ = ("_waiting", "time")

    def __init__(self) -> None:
        self.time: int | None = None
        self._waiting: list[Callable[[int], None]] = []

    def fire(self, time: int) -> None:
        """Settle when it fires and tell those who wait, in the order in which they came."""
        self.time = time
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback(time)

    def subscribe(self, callback: Callable[[int], None]) -> None:
        """Call back with the time once it is settled; at once if it already is."""
        if self.time is not None:
            callback(self.time)
        else:
            self._waiting.append(callback)
