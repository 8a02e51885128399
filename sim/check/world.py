"""A serving scenario small enough to be understood: what schedulers are attacked with, and what failures shrink to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from scenarios.loader import load_engine, load_model, load_profile
from scenarios.scenario import Serving
from sim.check.disturbance import Disturbance
from sim.program.constants import Constants
from sim.serving.request import HASH_TOKENS, Request
from sim.serving.source import RequestSource
from sim.studies.serving import ServingRun
from sim.timeline.chrome import replacing

US = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as its client sees it: arrival in microseconds, tokens of the prompt, and tokens until it ends.

    ``hashes`` name what the prompt begins with, as a request's do: prompts of equal ones begin alike.
    """

    arrival: int
    context: int
    tokens: int
    hashes: tuple[int, ...] = ()


@dataclass(frozen=True)
class World:
    """Requests, and the server that they come to.

    Every request ends by length at its ``tokens``; with a ``limit``, clients ask for so many tokens at most, and those
    that want fewer end by a stop token that the scheduler does not foresee. ``engine`` overrides the preset's knobs, as
    the table of a scenario does; ``step`` and ``row`` are device time of a step and of each of its rows, ``host`` is
    host time in each schedule, all in microseconds; if it costs any, each row, token and prompt costs one more. With
    ``layers`` a tiny model runs in place of the timer.
    ``disturbances`` are what goes wrong on the machine: a scenario's file cannot say them, and leaves them out.
    """

    requests: tuple[Asked, ...]
    mode: str = "serial-eager"
    limit: int | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    step: int = 100
    row: int = 0
    host: int = 0
    layers: bool = False
    disturbances: tuple[Disturbance, ...] = ()

    def with_engine(self, knobs: Mapping[str, Any]) -> World:
        """The same requests on an engine with these knobs."""
        return replace(self, engine={**self.engine, **knobs})

    def serving(self) -> ServingRun:
        """The run that ``write`` writes the scenario of, but for its requests."""
        tree = self._tree() | {"workload": {"rate": "1/s", "requests": 1, "context": 1, "output_tokens": 1}}
        scenario = Serving.model_validate(tree)
        engine = scenario.engine.applied_to(load_engine(scenario.engine.preset))
        profile = _profile()
        model = _tiny() if isinstance(scenario.model, str) else scenario.model
        return ServingRun(
            "world", scenario, model, profile, engine, Constants.of(profile), engine.buckets, scenario.host.scale
        )

    def source(self) -> RequestSource:
        """The requests in order of arrival, and who stops when."""
        requests, stops = [], {}
        for number, asked in enumerate(sorted(self.requests, key=lambda r: r.arrival)):
            longest = asked.tokens
            if self.limit is not None:
                longest = min(longest, self.limit)
                if longest < self.limit:
                    stops[number], longest = longest, self.limit
            arrival = (asked.arrival - min(r.arrival for r in self.requests)) * US
            requests.append(Request(number, asked.context, longest, arrival, hashes=asked.hashes))
        return RequestSource(requests, stops)

    def write(self, path: Path, remark: str) -> Path:
        """Write the scenario, and beside it the trace of its requests; returns the trace's path."""
        asked = sorted(self.requests, key=lambda r: r.arrival)
        trace = path.with_suffix(".jsonl" if any(r.hashes for r in asked) else ".csv")
        workload: dict[str, Any] = {"trace": trace.name}
        if self.limit is not None:
            workload |= {"max_tokens": self.limit, "stop_share": 1.0}
        tree = self._tree() | {"workload": workload}
        with replacing(trace) as temporary:
            rows = _with_hashes(asked) if trace.suffix == ".jsonl" else _stamped(asked)
            temporary.write_text("\n".join(rows) + "\n", encoding="utf-8")
        with replacing(path) as temporary:
            lines = [*(f"# {line}" for line in remark.splitlines()), *_toml(tree)]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return trace

    def __str__(self) -> str:
        """In a few lines, as one would tell it."""
        asked = sorted(self.requests, key=lambda r: r.arrival)
        lines = [
            f"request {i}: at {r.arrival} us, {r.context} prompt and {r.tokens} output tokens"
            + (f", pieces of {HASH_TOKENS} tokens named {list(r.hashes)}" if r.hashes else "")
            for i, r in enumerate(asked)
        ]
        knobs = ", ".join(f"{name} = {_value(value)}" for name, value in self.engine.items() if value is not None)
        lines += [f"mode {self.mode}" + (f", {knobs}" if knobs else "")]
        return "\n".join([*lines, *map(str, self.disturbances)])

    def _tree(self) -> dict[str, Any]:
        zero = dict.fromkeys(("base", "per_row", "per_token", "prefill", "per_prompt"), "0ns")
        each = "1us" if self.host else "0ns"
        schedule = dict.fromkeys(zero, each) | {"base": f"{self.host}us"}
        host = {"receive": zero, "schedule": schedule, "prepare": zero, "process": zero}
        known = {name: value for name, value in self.engine.items() if value is not None}
        timer = {"kind": "timer", "step": f"{self.step}us", "per_row": f"{self.row}us"}
        return {
            "kind": "serving",
            "title": "The smallest world that breaks it",
            "model": "tiny" if self.layers else timer,
            "engine": {"modes": [self.mode], **known, "host": host},
        }


def _stamped(asked: Sequence[Asked]) -> list[str]:
    """As the rows of an Azure trace."""
    begin = datetime(2000, 1, 1)  # noqa: DTZ001
    rows = [f"{begin + timedelta(microseconds=r.arrival)},{r.context},{r.tokens}" for r in asked]
    return ["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]


def _with_hashes(asked: Sequence[Asked]) -> list[str]:
    """As the rows of a Mooncake trace."""
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    rows = ((r.arrival / 1000, r.context, r.tokens, r.hashes) for r in asked)
    return [json.dumps(dict(zip(names, row, strict=True))) for row in rows]


def _toml(tree: Mapping[str, Any]) -> list[str]:
    """A tree as TOML, tables of the top as tables and those in them in one line."""
    plain = [f"{key} = {_value(value)}" for key, value in tree.items() if key not in ("workload", "engine")]
    tables = [
        ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in tree[name].items())]
        for name in ("workload", "engine")
    ]
    return [*plain, *(line for table in tables for line in table)]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


@lru_cache(maxsize=1)
def _profile() -> Any:
    return load_profile("nvidia-h200")


@lru_cache(maxsize=1)
def _tiny() -> Any:
    return load_model("tiny")
