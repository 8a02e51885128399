"""Worlds of a server at random: requests, knobs, buckets, and costs with their extremes."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from scenarios.loader import list_engines, load_engine
from sim.check.disturbance import Disturbance
from sim.check.world import Asked, World
from sim.serving.request import HASH_TOKENS

MODES = ("serial-eager", "overlap-eager", "overlap-graph", "serial-graph")
BLOCK = 16
MOST = 40
"""Prompt tokens at most, so that a handful of requests fill a small cache."""


# Strategies are made once: making and validating one anew in every example takes longer than to serve a small world.


@cache
def arrivals() -> st.SearchStrategy[int]:
    """Microseconds: bursts and ties, and steps' lengths apart."""
    return st.one_of(st.sampled_from((0, 0, 100, 200, 1000)), st.integers(0, 3000))


@cache
def requests(most: int = 8, longest: int = 8) -> st.SearchStrategy[tuple[Asked, ...]]:
    """A few requests, long and short, some about to fill a block, of up to so many output tokens."""
    prompts = st.one_of(st.integers(1, 6), st.integers(1, MOST), st.sampled_from((BLOCK - 2, BLOCK - 1, 2 * BLOCK - 1)))
    one = st.builds(Asked, arrivals(), prompts, st.integers(1, longest))
    return st.lists(one, min_size=1, max_size=most).map(tuple)


@cache
def closed_batches() -> st.SearchStrategy[tuple[Asked, ...]]:
    """Requests that come and end together: their steps repeat themselves."""
    one = st.builds(Asked, st.just(0), st.integers(1, 6), st.integers(12, 18))
    return st.tuples(one, st.integers(1, 4)).map(lambda drawn: (drawn[0],) * drawn[1])


def begun(path: int, count: int) -> tuple[int, ...]:
    """Names of a prompt's first ``count`` pieces, at most 3: two prompts begin alike as far as their paths do."""
    return (path & 1, path >> 1 & 1, path >> 2)[:count]


@cache
def begun_alike(longest: int = 8) -> st.SearchStrategy[tuple[Asked, ...]]:
    """Requests whose prompts begin with up to 3 pieces that others may share, and end with tokens of their own."""
    shape = st.tuples(arrivals(), st.integers(0, 3), st.integers(0, 7), st.integers(0, 4), st.integers(1, longest))

    def asked(drawn: tuple[int, int, int, int, int]) -> Asked:
        arrival, count, path, rest, tokens = drawn
        return Asked(arrival, max(1, count * HASH_TOKENS + rest), tokens, begun(path, count))

    return st.lists(shape.map(asked), min_size=1, max_size=6).map(tuple)


@cache
def prefix_caches(longest: int = 8) -> st.SearchStrategy[dict[str, Any]]:
    """Knobs of an engine that shares blocks between such prompts, in a cache that holds one of them at least."""
    smallest = -(-(3 * HASH_TOKENS + 4 + longest) // BLOCK) + 1  # and one for rows that are computed too late
    return st.fixed_dictionaries(
        {
            "prefix_cache": st.just(True),
            "kv_blocks": st.one_of(st.just(smallest), st.integers(smallest, 3 * smallest)),
            "token_budget": st.sampled_from((8192, 8192, 100, HASH_TOKENS, 700)),
            "ordering": st.sampled_from(("fcfs", "longest-prefix", "shortest-first")),
        }
    )


@cache
def bucket_lists() -> st.SearchStrategy[list[int]]:
    """Captured batch sizes: dense, sparse, and too small for most batches."""
    return st.sets(st.integers(1, 9), min_size=1, max_size=4).map(sorted)


@cache
def disturbances() -> st.SearchStrategy[Disturbance]:
    """A slow kernel, a late event or a stalled host thread in one of the first steps."""
    what = st.sampled_from(("slow-kernel", "late-event", "stalled-host"))
    return st.builds(Disturbance, what, st.integers(0, 6), st.sampled_from((1, 50, 400)))


@cache
def engines(longest: int = 8) -> st.SearchStrategy[dict[str, Any]]:
    """Knobs of an engine, each often left as the preset has it; every request of ``requests`` fits into the cache."""
    smallest = smallest_cache(longest)
    knobs: dict[str, st.SearchStrategy[Any]] = {
        "max_batch": st.one_of(st.none(), st.integers(1, 5)),
        "token_budget": st.sampled_from((None, 1, 16, 50)),
        "kv_blocks": st.one_of(st.none(), st.just(smallest), st.integers(smallest, 3 * smallest)),
        "chunked_prefill": st.sampled_from((None, True)),
        "batching": st.sampled_from((None, "decode-first", "mixed")),
        "ordering": st.sampled_from((None, None, "shortest-first")),
        "kv_reservation": st.sampled_from((None, "grow")),
        "watermark": st.sampled_from((None, 0.0, 0.3)),
        "future_map": st.sampled_from((None, "ring", "request-slot")),
        "late_stop_length": st.sampled_from((None, True)),
        "buckets": st.one_of(st.none(), bucket_lists()),
    }
    return st.fixed_dictionaries(knobs).map(lambda drawn: {n: value for n, value in drawn.items() if value is not None})


def smallest_cache(longest: int) -> int:
    """Blocks that the largest request needs."""
    return -(-(MOST + longest + 1) // BLOCK)


@cache
def presets() -> st.SearchStrategy[str]:
    """The engines that are shipped, the simplest half of the time."""
    others = [name for name in list_engines() if name != "lean"]
    return st.sampled_from((*(["lean"] * (len(others) + 1)), "lean", *others))


@cache
def modes(preset: str) -> st.SearchStrategy[str]:
    """The modes that an engine has."""
    return st.sampled_from([mode for mode in MODES if load_engine(preset).lacks(mode) is None])


KINDS = ("any", "any", "any", "any", "any", "crowd", "crowd", "closed", "alike")
"""Any requests, those for whom blocks run out, a closed batch, prompts that begin alike before a prefix cache."""


@cache
def worlds(longest: int = 8, kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[World]:
    """Any world; most are device-bound timers, some a tiny model with all its kernels, some cost nothing at all."""
    rest: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {
            "limit": st.sampled_from((None, None, longest, 3)),
            "step": st.sampled_from((100, 0, 10)),
            "row": st.sampled_from((0, 10)),
            "host": st.sampled_from((0, 50, 300)),
            "layers": st.sampled_from((False, False, False, True)),
        }
    )
    wrong = st.one_of(st.just(()), st.just(()), st.just(()), st.lists(disturbances(), max_size=2).map(tuple))
    any_kind = st.sampled_from(kinds)

    @st.composite
    def world(draw: st.DrawFn) -> World:
        preset = draw(presets())
        mode = draw(modes(preset))
        kind = draw(any_kind)
        engine = draw(engines(longest)) | (draw(prefix_caches(longest)) if kind == "alike" else {})
        engine |= {} if preset == "lean" else {"preset": preset}
        budget = engine.get("token_budget")
        if budget and "mixed" in (engine.get("batching"), load_engine(preset).batching):  # decode rows are part of it
            engine["max_batch"] = min(engine.get("max_batch", budget), budget)
        asked, drawn = draw(begun_alike(longest) if kind == "alike" else requests(longest=longest)), draw(rest)
        if kind == "crowd":  # blocks run out while everybody decodes
            asked = tuple(Asked(0, BLOCK - 1, min(longest, 2 + r.tokens)) for r in asked)
            engine |= {"kv_reservation": "grow", "kv_blocks": smallest_cache(longest), "watermark": 0.0}
        if kind == "closed":
            asked, drawn["limit"] = draw(closed_batches()), None
            engine = {name: value for name, value in engine.items() if name not in ("kv_blocks", "token_budget")}
        return World(asked, mode, engine=engine, disturbances=draw(wrong), **drawn)

    return world()
