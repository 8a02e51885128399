"""How many blocks of KV cache a device has room for beside weights and captured graphs."""

from __future__ import annotations

from scenarios.engine import EnginePreset
from scenarios.model import ModelShape
from scenarios.profile import Profile
from sim.effects import Phase
from sim.program.decode_prices import PAGE
from sim.program.lowering import Lowering
from sim.program.ops import Replay
from sim.serving.batch import Batch, Chunk
from sim.serving.batch import Phase as BatchPhase
from sim.serving.request import Request
from sim.studies.buckets.memory import GraphMemory


def graph_bytes(shape: ModelShape, engine: EnginePreset, buckets: tuple[int, ...], lower: Lowering) -> int:
    """What the graphs of all buckets hold, and those of prompt steps in pieces if the engine has such.

    One of a graph's kernels holds what was measured on an H100, unless the engine says what a graph holds. Leaves out
    that piecewise graphs share one pool of activations with the others.
    """
    decode = Batch(0, BatchPhase.DECODE, 1, 1, 1, (), bucket=buckets[0], counter=1)
    held = GraphMemory.of(shape, _nodes(decode, lower), engine.graph_memory).of_list(buckets)
    if engine.piecewise is not None:
        chunk = Chunk(Request(0, 1, 1), 0, 1, 1)
        prompt = Batch(0, BatchPhase.PREFILL, 1, 1, 0, (), prompts=(chunk,), pieces=engine.piecewise[0])
        held += GraphMemory.of(shape, _nodes(prompt, lower), engine.graph_memory).of_list(engine.piecewise)
    return held


def kv_blocks(shape: ModelShape, profile: Profile, engine: EnginePreset, graphs: int) -> int:
    """Blocks in what weights and so many bytes of graphs leave of the memory that the engine plans with.

    Raises ``ValueError`` when there is room for none.
    """
    room = int(profile.device.memory * engine.memory_share) - shape.weight_bytes - graphs
    blocks = room // (PAGE * shape.kv_bytes_per_token)
    if blocks < 1:
        beside = f" and {graphs / 2**30:.1f} GiB of graphs" if graphs else ""
        share, limit = engine.memory_share, profile.device.memory * engine.memory_share / 2**30
        raise ValueError(
            f"{shape.name} has {shape.weight_bytes / 2**30:.1f} GiB of weights{beside}, "
            f"{share:.0%} of the memory of {profile.name} is {limit:.1f} GiB"
        )
    return blocks


def _nodes(batch: Batch, lower: Lowering) -> int:
    """Kernels in the graphs that a batch replays."""
    pieces = lower(Phase(batch))
    return sum(len(op.graph.kernels) for _, ops in pieces for op in ops if isinstance(op, Replay))
