"""The costs that the machine itself knows. Every field is one mechanism; zero switches it off."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from scenarios.errors import Problem, ScenarioError
from scenarios.profile import Profile, ProfiledConstants


@dataclass(frozen=True, slots=True)
class Constants:
    """Nanoseconds, except ``queue_depth``. A profile gives each a source and a residual; here are their meanings.

    Host, a call of the CUDA runtime (``*_call``) and what follows it:

    - ``launch_call``, ``copy_call``, ``event_record_call``, ``event_wait_call``, ``event_query_call``: bare API calls.
    - ``graph_launch_call`` + ``graph_launch_call_per_1000_nodes``: launching a graph that has been launched before.
    - ``first_replay`` + ``first_replay_per_1000_nodes``: what its first launch costs on top, the upload included.
    - ``event_sync_call``, ``device_sync_call``: synchronizing when nothing is pending, the least such a call takes.
    - ``wake_spin``, ``wake_device``, ``wake_blocking``: from an event's firing to the return of the call that spins on
      the event, spins on the whole device, or sleeps.
    - ``gil_switch_interval``: how long a thread waits for a holder of the GIL that does not let go by itself;
      ``gil_handoff``: from the release of the GIL to the waiting thread's first instruction;
      ``other_thread_call``: added to each call from a thread other than the process's first.

    Device:

    - ``launch_latency``, ``copy_latency``, ``graph_launch_latency`` + ``graph_launch_latency_per_1000_nodes``: from the
      return of the call to the start on an idle device.
    - ``stream_gap``: between the end of one entry of a backlogged stream, or the firing of the event it waits for, and
      the start of the next where kernels are of one kind, ``step_gap`` where they alternate as in a model's step (a
      profile that lacks it has one for both); ``graph_gap`` between the kernels of a graph, ``graph_join_gap`` before
      one that waits for several; ``replay_gap`` between two graphs that follow each other.
    - ``stream_switch``: added when the front end's last kernel came from another stream; ``dispatch_interval``: the
      front end starts no two streams' kernels closer than this.
    - ``timed_event``: a timing event's stamp after what it follows, during which the stream is held.
    - ``queue_depth``: launches a stream accepts beyond the ones that have started; the next call blocks.
    """

    launch_call: int = 0
    copy_call: int = 0
    event_record_call: int = 0
    event_wait_call: int = 0
    event_query_call: int = 0
    graph_launch_call: int = 0
    graph_launch_call_per_1000_nodes: int = 0
    first_replay: int = 0
    first_replay_per_1000_nodes: int = 0
    event_sync_call: int = 0
    device_sync_call: int = 0
    wake_spin: int = 0
    wake_device: int = 0
    wake_blocking: int = 0
    gil_switch_interval: int = 5_000_000
    gil_handoff: int = 0
    other_thread_call: int = 0
    launch_latency: int = 0
    copy_latency: int = 0
    graph_launch_latency: int = 0
    graph_launch_latency_per_1000_nodes: int = 0
    stream_gap: int = 0
    step_gap: int = 0
    graph_gap: int = 0
    graph_join_gap: int = 0
    replay_gap: int = 0
    stream_switch: int = 0
    dispatch_interval: int = 0
    timed_event: int = 0
    queue_depth: int = 1021

    @classmethod
    def of(cls, profile: Profile) -> Constants:
        """The constants of a hardware profile."""
        known = profile.constants
        return cls(**{f.name: (getattr(known, f.name) or known.stream_gap).value for f in fields(cls)})

    @classmethod
    def profiled(cls, profile: Profile) -> Constants:
        """The constants in a process in which a profiler has run; raises ``ScenarioError`` where they are unknown."""
        if profile.profiled is None:
            message = "missing, expected a table: what launches cost once a profiler has run was not measured"
            raise ScenarioError([Problem(profile.name, "profiled", message)])
        changed = {name: getattr(profile.profiled, name).value for name in ProfiledConstants.model_fields}
        return replace(cls.of(profile), **changed)

    @property
    def in_steps(self) -> Constants:
        """The same machine for kernels of a model's step."""
        return replace(self, stream_gap=self.step_gap)

    def wake(self, *, device: bool, blocking: bool) -> int:
        """The wake-up of a synchronize of this kind."""
        if blocking:
            return self.wake_blocking
        return self.wake_device if device else self.wake_spin
