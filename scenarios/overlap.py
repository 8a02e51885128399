"""How an engine overlaps its host's work with its device's: the knobs in which engines differ, as data."""

from typing import Literal

from scenarios.table import Count, Table

OverlapLoop = Literal[
    "run-ahead", "graphs-or-overlap", "late-sampling", "multi-step", "forward-thread", "output-thread"
]
Masks = Literal["in-loop", "late-sampling", "serial"]
InputStream = Literal["schedule", "forward"]
Staging = Literal["new-buffers", "event"]


class Overlap(Table):
    """What runs ahead of what in the overlap modes; serial modes are the same in all engines.

    `loop` names one of the loops of `sim.loops`: one host thread that launches step N and then processes N-1
    (`run-ahead`), the same but for steps that replay a graph (`graphs-or-overlap`), with N's sampling launched after
    N-1 is processed (`late-sampling`), rounds of `steps` decode steps scheduled at once, their outputs processed at the
    end of their round or, with `late_outputs`, during the next (`multi-step`), a second host thread that launches
    (`forward-thread`) or that waits for results (`output-thread`).

    `masks` is what happens to batches with host work between logits and sampling: the loop has a place for it, sampling
    is launched late, or overlap is off. Inputs go to the device on `input_stream`; before a step's inputs are written,
    `staging` either takes new buffers, or waits for the `event` after the copy out of the only one.
    """

    loop: OverlapLoop = "run-ahead"
    steps: Count = 1
    late_outputs: bool = False
    masks: Masks = "late-sampling"
    input_stream: InputStream = "schedule"
    staging: Staging = "new-buffers"

    @property
    def host_threads(self) -> int:
        """Threads that share the engine's interpreter lock."""
        return 2 if self.loop in ("forward-thread", "output-thread") else 1

    @property
    def steps_in_flight(self) -> int:
        """Steps launched and not processed yet, at most."""
        if self.loop != "multi-step":
            return 2
        return self.steps * (2 if self.late_outputs else 1)


class OverlapOverride(Table):
    """A scenario's own overlap; what it leaves out stays the preset's."""

    loop: OverlapLoop | None = None
    steps: Count | None = None
    late_outputs: bool | None = None
    masks: Masks | None = None
    input_stream: InputStream | None = None
    staging: Staging | None = None
