"""A workload fitted to a request trace: ``python -m sim.studies.trace_fit FILE ...`` prints a scenario.

What is kept of the trace: how many requests come and how fast, the rate over time as a histogram, the scatter of
intervals around it, and the quantiles of prompts, and of outputs by the length of their prompt. What is lost: which
request followed which.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scenarios.errors import ScenarioError
from scenarios.units import format_duration, parse_duration
from scenarios.workload import Workload
from sim.studies.trace import read_trace
from sim.studies.workload import build_source

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SHARES = (0, 0.01, *np.round(np.arange(0.05, 0.96, 0.05), 2).tolist(), 0.97, 0.98, 0.99, 0.995, 0.999, 1)
"""Shares at which quantiles are taken: fine where the tail is long."""
RANGES = 8
"""Ranges of prompts, of about as many requests each, whose outputs have quantiles of their own."""
SEEDS = range(10)
"""Draws over which the fit error is averaged."""
END_OF_TIME = 1 << 62


@dataclass(frozen=True, slots=True)
class Requests:
    """Arrivals in seconds from the first on, and tokens."""

    arrivals: Floats
    context: Tokens
    output: Tokens

    @classmethod
    def of_trace(cls, path: Path) -> Requests:
        """The requests of a trace file; raises ``ScenarioError`` for one that cannot be read."""
        rows = read_trace(path)
        stamps = np.array([row.arrival for row in rows])
        columns = (np.array([getattr(row, name) for row in rows]) for name in ("context", "tokens"))
        return cls((stamps - stamps[0]) / 1e9, *columns)

    @classmethod
    def of_workload(cls, workload: Workload, seed: int) -> Requests:
        """The requests that a workload draws."""
        rows = build_source(workload, seed=seed).take(END_OF_TIME)
        columns = (np.array([getattr(row, name) for row in rows]) for name in ("context", "max_tokens"))
        return cls(np.array([row.arrival for row in rows]) / 1e9, *columns)

    def statistics(self) -> dict[str, float]:
        """What a fit is judged by."""
        found = {"requests": float(len(self.arrivals)), "seconds": float(self.arrivals[-1])}
        counts = np.bincount((self.arrivals / 60).astype(np.int64))
        found |= {"busiest minute": float(counts.max())}
        seconds = np.bincount(self.arrivals.astype(np.int64))
        found |= {"variance to mean of requests a second": float(seconds.var() / seconds.mean())}
        for name, tokens in (("prompt", self.context), ("output", self.output)):
            found[f"{name} mean"] = float(tokens.mean())
            found |= {f"{name} p{share}": float(np.quantile(tokens, share / 100)) for share in (50, 90, 99)}
        prompts, outputs = (np.argsort(np.argsort(tokens, kind="stable")) for tokens in (self.context, self.output))
        found["rank correlation of prompt and output"] = float(np.corrcoef(prompts, outputs)[0, 1])
        return found


def fitted(requests: Requests, every: int) -> Workload:
    """The workload of about so many nanoseconds a piece of its histogram, whole pieces over the whole trace."""
    span = float(requests.arrivals[-1])
    pieces = max(1, round(span * 1e9 / every))
    edges = np.linspace(0, span, pieces + 1)
    counts, _ = np.histogram(requests.arrivals, edges)
    number = len(requests.arrivals)
    bursts = _burstiness(requests.arrivals, edges, counts)
    ends = np.unique(np.quantile(requests.context, np.arange(1, RANGES + 1) / RANGES, method="higher"))
    place = np.searchsorted(ends, requests.context)
    ranges = [
        {"up_to": int(end), "quantiles": _quantiles(requests.output[place == i])} for i, end in enumerate(ends.tolist())
    ]
    return Workload.model_validate(
        {
            "rate": f"{number / span:.4f}/s",
            "requests": number,
            "arrivals": "gamma",
            "burstiness": bursts,
            "profile": {"every": format_duration(round(span * 1e9 / pieces / 1e6) * 10**6), "counts": counts.tolist()},
            "context": {"kind": "empirical", "quantiles": _quantiles(requests.context)},
            "output_tokens": {"kind": "by-context", "ranges": ranges},
        }
    )


def _burstiness(arrivals: Floats, edges: Floats, counts: Tokens) -> float:
    """The shape of the Gamma distribution whose intervals scatter as much as the trace's do within its histogram."""
    expected = np.append(0, np.cumsum(counts))
    gaps = np.diff(np.interp(arrivals, edges, expected))
    return round(float(gaps.mean() ** 2 / gaps.var()), 3)


def _quantiles(tokens: Tokens) -> list[list[float]]:
    return [
        [share, int(value)] for share, value in zip(SHARES, np.quantile(tokens, SHARES, method="nearest"), strict=True)
    ]


def fit_error(requests: Requests, workload: Workload, seeds: Sequence[int]) -> list[tuple[str, float, float]]:
    """Each statistic of the trace, and its mean over draws of the workload."""
    draws = [Requests.of_workload(workload, seed).statistics() for seed in seeds]
    return [
        (name, value, float(np.mean([draw[name] for draw in draws]))) for name, value in requests.statistics().items()
    ]


def scenario_file(requests: Requests, every: int, title: str, model: str, source: str) -> str:
    """A scenario of the fitted workload, its comment saying how far it is from the trace."""
    workload = fitted(requests, every)
    lines = [f"# Requests by the statistics of a published trace, {source}", _COMMENT]
    for name, traced, drawn in fit_error(requests, workload, SEEDS):
        lines.append(f"#   {name:<40} {traced:>10,.2f} {drawn:>10,.2f} {drawn / traced - 1:>+8.1%}")
    lines += ['kind = "serving"', f"title = {_toml(title)}", f"model = {_toml(model)}", "", *_tables(workload)]
    return "\n".join(lines) + "\n"


_COMMENT = """\
# `--set workload.trace=FILE` runs the trace itself. Fitted by `python -m sim.studies.trace_fit`: the rate over time,
# the scatter of intervals around it, quantiles of prompts, and of outputs by the length of their prompt; which request
# followed which is lost. The trace, the mean of ten draws, and how far off that is:"""


def _tables(workload: Workload) -> Iterator[str]:
    """A fitted workload as the lines of a scenario file."""
    shown = workload.model_dump(mode="json", exclude_defaults=True)
    yield "[workload]"
    yield from (f"{key} = {_toml(shown[key])}" for key in ("rate", "requests", "arrivals", "burstiness"))
    yield f"profile.every = {_toml(shown['profile']['every'])}"
    yield from ("profile.counts = [", *_wrapped(shown["profile"]["counts"]), "]")
    yield from ('context.kind = "empirical"', "context.quantiles = [", *_wrapped(shown["context"]["quantiles"]), "]")
    yield 'output_tokens.kind = "by-context"'
    for one in shown["output_tokens"]["ranges"]:
        yield from ("", "[[workload.output_tokens.ranges]]", f"up_to = {one['up_to']}", "quantiles = [")
        yield from (*_wrapped(one["quantiles"]), "]")


def _wrapped(items: Sequence[object]) -> list[str]:
    """A long list's items on lines of their own."""
    text = ", ".join(_toml(item).replace(", ", ",") for item in items)
    return textwrap.wrap(f"{text},", 120, initial_indent="    ", subsequent_indent="    ")


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Print the scenario file of a trace; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sim.studies.trace_fit", description="fit a workload to a trace")
    parser.add_argument("file", type=Path, help="a .csv or .jsonl file as 'workload.trace' takes it")
    parser.add_argument("--every", default="60s", metavar="TIME", help="a piece of the histogram (default 60s)")
    parser.add_argument("--title", required=True)
    parser.add_argument("--model", default="llama-3.1-8b")
    parser.add_argument("--source", required=True, help="where the trace comes from, and its licence")
    given = parser.parse_args()
    try:
        requests, every = Requests.of_trace(given.file), parse_duration(given.every)
    except (ScenarioError, OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201  a script that says what is wrong
        return 2
    sys.stdout.write(scenario_file(requests, every, given.title, given.model, given.source))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
