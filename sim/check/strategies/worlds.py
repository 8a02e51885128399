"""Worlds of a server at random: requests, knobs, buckets, and costs with their extremes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hypothesis import strategies as st

from scenarios.loader import list_engines, load_engine
from sim.check.disturbance import Disturbance
from sim.check.world import Asked, World

MODES = ("serial-eager", "overlap-eager", "overlap-graph", "serial-graph")
BLOCK = 16
MOST = 40
"""Prompt tokens at most, so that a handful of requests fill a small cache."""


def arrivals() -> st.SearchStrategy[int]:
    """Microseconds: bursts and ties, and steps' lengths apart."""
    return st.one_of(st.sampled_from((0, 0, 100, 200, 1000)), st.integers(0, 3000))


def requests(most: int = 8, longest: int = 8) -> st.SearchStrategy[tuple[Asked, ...]]:
    """A few requests, long and short, some about to fill a block, of up to so many output tokens."""
    prompts = st.one_of(st.integers(1, 6), st.integers(1, MOST), st.sampled_from((BLOCK - 2, BLOCK - 1, 2 * BLOCK - 1)))
    one = st.builds(Asked, arrivals(), prompts, st.integers(1, longest))
    return st.lists(one, min_size=1, max_size=most).map(tuple)


def bucket_lists() -> st.SearchStrategy[list[int]]:
    """Captured batch sizes: dense, sparse, and too small for most batches."""
    return st.sets(st.integers(1, 9), min_size=1, max_size=4).map(sorted)


def disturbances() -> st.SearchStrategy[Disturbance]:
    """A slow kernel, a late event or a stalled host thread in one of the first steps."""
    what = st.sampled_from(("slow-kernel", "late-event", "stalled-host"))
    return st.builds(Disturbance, what, st.integers(0, 6), st.sampled_from((1, 50, 400)))


@st.composite
def engines(draw: st.DrawFn, longest: int = 8) -> dict[str, Any]:
    """Knobs of an engine, each often left as the preset has it; every request of ``requests`` fits into the cache."""
    smallest = -(-(MOST + longest + 1) // BLOCK)
    drawn: dict[str, Any] = {
        "max_batch": draw(st.one_of(st.none(), st.integers(1, 5))),
        "token_budget": draw(st.sampled_from((None, 1, 16, 50))),
        "kv_blocks": draw(st.one_of(st.none(), st.just(smallest), st.integers(smallest, 3 * smallest))),
        "chunked_prefill": draw(st.sampled_from((None, True))),
        "batching": draw(st.sampled_from((None, "decode-first", "mixed"))),
        "ordering": draw(st.sampled_from((None, None, "shortest-first"))),
        "kv_reservation": draw(st.sampled_from((None, "grow"))),
        "watermark": draw(st.sampled_from((None, 0.0, 0.3))),
        "future_map": draw(st.sampled_from((None, "ring", "request-slot"))),
        "late_stop_length": draw(st.sampled_from((None, True))),
        "buckets": draw(st.one_of(st.none(), bucket_lists())),
    }
    return {name: value for name, value in drawn.items() if value is not None}


@lru_cache(maxsize=1)
def presets() -> tuple[str, ...]:
    """The engines that are shipped, the simplest first."""
    return ("lean", *(name for name in list_engines() if name != "lean"))


@st.composite
def worlds(draw: st.DrawFn, longest: int = 8) -> World:
    """Any world; most are device-bound timers, some a tiny model with all its kernels, some cost nothing at all."""
    preset = draw(st.sampled_from((*(["lean"] * len(presets())), *presets())))
    modes = [mode for mode in MODES if load_engine(preset).lacks(mode) is None]
    engine = draw(engines(longest)) | ({} if preset == "lean" else {"preset": preset})
    budget = engine.get("token_budget")
    if budget and "mixed" in (engine.get("batching"), load_engine(preset).batching):  # decode rows are part of it
        engine["max_batch"] = min(engine.get("max_batch", budget), budget)
    asked = draw(requests(longest=longest))
    limits: tuple[int | None, ...] = (None, None, longest, 3)
    if draw(st.integers(0, 3)) == 3:  # blocks run out while everybody decodes
        asked = tuple(Asked(0, BLOCK - 1, min(longest, 2 + r.tokens)) for r in asked)
        engine |= {"kv_reservation": "grow", "kv_blocks": -(-(MOST + longest + 1) // BLOCK), "watermark": 0.0}
    if draw(st.integers(0, 7)) == 7:  # a closed batch, whose steps repeat themselves
        asked = (Asked(0, draw(st.integers(1, 6)), draw(st.integers(12, 18))),) * draw(st.integers(1, 4))
        engine = {name: value for name, value in engine.items() if name not in ("kv_blocks", "token_budget")}
        limits = (None,)
    return World(
        asked,
        draw(st.sampled_from(modes)),
        draw(st.sampled_from(limits)),
        engine,
        draw(st.sampled_from((100, 0, 10))),
        draw(st.sampled_from((0, 10))),
        draw(st.sampled_from((0, 50, 300))),
        draw(st.sampled_from((False, False, False, True))),
        tuple(draw(st.lists(disturbances(), max_size=2))) if draw(st.integers(0, 3)) == 3 else (),
    )
