"""A train's pace as straight code: what repeats in the train is looked at once, and then at its last time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim.fast.blocks import Times, Tree
from sim.fast.launch_queue import NEVER
from sim.program.calls import Call
from sim.program.constants import Constants

Ends = Callable[[Sequence[int]], tuple[int, int, int, int]]
"""Takes durations, and returns what a ``Pace`` has of them: ``first``, ``slack``, ``before`` and ``last``."""


def ends_of(first: int, rest: Tree, last: int, calls: dict[int, Call], constants: Constants) -> Ends:
    """The code of a train of a ``first`` kernel and the ``rest``, by the positions of their durations.

    A kernel waits for the host by as much as its call returns later than the stream is ready for it. From one
    repetition to the next that grows or shrinks by the same, so that it is largest the first time or the last.
    """
    gap, latency = constants.stream_gap, constants.launch_latency
    lines = [f"s, m = ns[{first}] + {gap}, {NEVER}"]
    returned = calls[first].ns
    for part in _flat(rest):
        if isinstance(part, int):
            returned += calls[part].ns
            lines += [f"v = {returned + latency} - s", "if v > m: m = v", f"s += ns[{part}] + {gap}"]
            continue
        count, positions = part
        began = returned
        lines += [f"b, w = s, {NEVER}"]
        for position in positions:
            returned += calls[position].ns
            lines += [f"v = {returned + latency} - s", "if v > w: w = v", f"s += ns[{position}] + {gap}"]
        each = returned - began
        lines += ["if w > m: m = w", "b = s - b", f"w += {count - 1} * ({each} - b)", "if w > m: m = w"]
        lines += [f"s += {count - 1} * b"]
        returned += (count - 1) * each
    lines += [f"return {calls[first].ns + latency}, m, s - {gap} - ns[{last}], ns[{last}]"]
    names: dict[str, Ends] = {}
    exec("def ends(ns):\n    " + "\n    ".join(lines), names)  # noqa: S102  written above
    return names["ends"]


def _flat(tree: Tree) -> list[int | tuple[int, tuple[int, ...]]]:
    """A tree's numbers and its repetitions with the numbers in each; those inside of others are spelled out."""
    found: list[int | tuple[int, tuple[int, ...]]] = []
    for part in tree:
        if isinstance(part, int):
            found.append(part)
        elif isinstance(part, Times):
            found.append((part.count, tuple(_numbers(part.tree))))
        else:
            found += _flat(part)
    return found


def _numbers(tree: Tree) -> list[int]:
    found: list[int] = []
    for part in tree:
        if isinstance(part, int):
            found.append(part)
        else:
            found += _numbers(part.tree) * part.count if isinstance(part, Times) else _numbers(part)
    return found
