"""A graph's body captured for real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from scenarios.errors import Problem, ScenarioError
from sim.program.ops import Op, Record, WaitEvent, api_name


def capture(name: str, body: Sequence[tuple[str, Op]]) -> Any:
    """A ``torch.cuda.CUDAGraph`` that has been replayed once; ``body`` is stream and operation, in the order of calls.

    The first operation's stream is captured, the others fork from it and join it by the body's own events. The body
    runs once beforehand, so that libraries make what they need outside of the capture. Raises ``ScenarioError`` naming
    the operation at which CUDA refused.
    """
    streams = {stream: torch.cuda.Stream() for stream, _ in body}
    at = _Progress()
    torch.cuda.synchronize()
    _enqueue(body, streams, at)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=streams[body[0][0]]):
            _enqueue(body, streams, at)
    except RuntimeError as error:
        reason = str(at.error or error).partition("\n")[0]
        raise ScenarioError([Problem(f"graph {name!r}", "", f"{at.op}: capture refused: {reason}")]) from error
    graph.replay()
    torch.cuda.synchronize()
    return graph


class _Progress:
    """How far an enqueuing has come, for whoever has to say where it ended."""

    op = "its end"
    error: RuntimeError | None = None


def _enqueue(body: Sequence[tuple[str, Op]], streams: dict[str, Any], at: _Progress) -> None:
    events: dict[object, Any] = {}
    for number, (stream, op) in enumerate(body):
        at.op = f"op {number} on stream {stream!r} ({getattr(op, 'name', api_name(op))})"
        try:
            with torch.cuda.stream(streams[stream]):
                if isinstance(op, Record):
                    events[op.event] = torch.cuda.Event()
                    events[op.event].record(streams[stream])
                elif isinstance(op, WaitEvent):
                    streams[stream].wait_event(events[op.event])
                else:
                    op.run()  # type: ignore[union-attr]
        except RuntimeError as error:
            at.error = error  # what leaving the capture raises next says less
            raise
    at.op = "its end"
