"""Stand-ins for tokens that are not known yet.

A step is built before the step that feeds it has run. Its inputs name *slots* of a device buffer instead of tokens;
on the forward stream a store kernel writes each step's sampled tokens to its slots, and a resolve kernel of the next
step replaces the names by the tokens. Here is the bookkeeping; the buffer and the two kernels belong to the machine.
"""

from __future__ import annotations


class SlotOverrunError(RuntimeError):
    """A slot was about to be handed out while a step in flight may still read it."""


def reference(slot: int) -> int:
    """The symbolic token that names a slot: negative, so that no real token equals it."""
    return -slot - 1


def slot_of(token: int) -> int | None:
    """The slot that a symbolic token names, None for a real token."""
    return -token - 1 if token < 0 else None


class SlotRing:
    """Slots in a ring: each step takes the next ones, in one piece, and gives them back once they have been read."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a ring needs at least one slot, got {capacity}")
        self.capacity = capacity
        self._next = 0
        self._live: dict[int, range] = {}

    @property
    def num_live(self) -> int:
        """Slots between reservation and release."""
        return sum(len(r) for r in self._live.values())

    def reserve(self, owner: int, count: int) -> range:
        """Slots for the ``count`` tokens that step ``owner`` will sample.

        A piece that would pass the end of the ring starts over at 0. Raises ``SlotOverrunError`` when a slot of it is
        still live: more steps are in flight than the ring was made for; ``ValueError`` when the step holds slots.
        """
        if owner in self._live:
            raise ValueError(f"step {owner} already holds slots")
        if count > self.capacity:
            raise SlotOverrunError(f"step {owner} needs {count} slots, the ring has {self.capacity}")
        start = self._next if self._next + count <= self.capacity else 0
        stop = start + count
        piece = range(start, stop)
        for other, live in self._live.items():
            if live.start < stop and start < live.stop:
                raise SlotOverrunError(
                    f"step {owner} would overwrite slots {piece.start}..{piece.stop - 1} "
                    f"while step {other} still owns {live.start}..{live.stop - 1}"
                )
        self._live[owner] = piece
        self._next = stop
        return piece

    def slots(self, owner: int) -> range:
        """The slots of a step; ``KeyError`` after their release."""
        return self._live[owner]

    def release(self, owner: int) -> None:
        """Give back a step's slots; ``KeyError`` when it holds none."""
        del self._live[owner]


class RequestSlots:
    """One slot a request, held from admission to its end: nothing is reserved for a step, nothing can overrun."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"at least one slot is needed, got {capacity}")
        self.capacity = capacity
        self._free = list(range(capacity - 1, -1, -1))
        self._slots: dict[int, int] = {}

    @property
    def num_live(self) -> int:
        """Slots that belong to a request."""
        return len(self._slots)

    def acquire(self, request: int) -> int:
        """A slot for a newly admitted request.

        Raises ``SlotOverrunError`` when none is free, ``ValueError`` when the request holds one.
        """
        if request in self._slots:
            raise ValueError(f"request {request} already holds a slot")
        if not self._free:
            raise SlotOverrunError(f"request {request} finds all {self.capacity} slots taken")
        slot = self._slots[request] = self._free.pop()
        return slot

    def slot(self, request: int) -> int:
        """The slot of a request; ``KeyError`` after its end."""
        return self._slots[request]

    def release(self, request: int) -> None:
        """Give back a request's slot; ``KeyError`` when it holds none."""
        self._free.append(self._slots.pop(request))
