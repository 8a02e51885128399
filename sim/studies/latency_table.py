"""What ``run`` prints of the clients of an open or closed loop: latencies, goodput and how full the server was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from scenarios.units import format_duration
from sim.studies.table import WIDEST_MODE, table, time
from sim.timeline.latency import METRICS, STATISTICS

if TYPE_CHECKING:
    from sim.studies.results import Results

WORDS = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2e": "end to end", "queue": "queue time"}


def print_latencies(console: Console, results: Results) -> None:
    """One table of latencies, for the modes that keep up, and one of the load; under them what they mean."""
    steady = {mode: found for mode, found in results.modes.items() if not found["saturated"]}
    if steady:
        console.print(_latencies(steady))
    console.print(_load(results.modes))
    for sentence in _sentences(results, steady):
        console.print(sentence, soft_wrap=True)


def _latencies(modes: dict[str, dict[str, Any]]) -> Table:
    shown = table("", "", *STATISTICS)
    modes_column = shown.columns[1]
    modes_column.justify, modes_column.no_wrap, modes_column.min_width = "left", True, WIDEST_MODE
    for metric in METRICS:
        for number, (mode, found) in enumerate(modes.items()):
            names = [f"{metric}_{name}_us" for name in STATISTICS]
            shown.add_row("" if number else WORDS[metric], mode, *(_with_interval(found, name) for name in names))
    return shown


def _with_interval(found: dict[str, Any], name: str) -> str:
    """A mean over draws, and how far its interval reaches from it at most."""
    value, ends = found[name], found.get("intervals", {}).get(name)
    if ends is None or not value:
        return time(value)
    return f"{time(value)} +-{max(ends[1] - value, value - ends[0]) / value:.0%}"


def _load(modes: dict[str, dict[str, Any]]) -> Table:
    shown = table(
        "mode", "requests/s", "batch", "at most", "KV blocks", "at most", "preempted", "prefix hits", "wasted rows"
    )
    for mode, found in modes.items():
        wasted = found["late_rows"] + found["padding_rows"]
        shown.add_row(
            mode,
            f"{found['requests_per_s']:.4g}",
            f"{found['batch_mean']:.1f}",
            f"{found['batch_max']:,.0f}",
            f"{found['kv_blocks_mean']:,.0f}",
            f"{found['kv_blocks_max']:,.0f}",
            f"{found['preemptions']:,.0f}",
            f"{found['prefix_hits']:.1%}",
            f"{wasted:,.0f}",
        )
    return shown


def _sentences(results: Results, steady: dict[str, dict[str, Any]]) -> Iterator[str]:
    saturated = [mode for mode in results.modes if mode not in steady]
    if saturated:
        yield (
            f"saturated: {', '.join(saturated)}: requests arrive faster than they are served, so that latencies grow "
            "with the length of the run; only throughput says something"
        )
    replicas = results.loaded.scenario.replicas  # type: ignore[union-attr]
    if replicas.count > 1:
        yield (
            f"{replicas.count} servers behind a {replicas.router} router: steps and devices are means over them, a "
            "timeline is the first one's; simulated, not validated"
        )
    limits = results.loaded.scenario.limits.given  # type: ignore[union-attr]
    if limits:
        words = ", ".join(f"{WORDS[name]} <= {format_duration(limit)}" for name, limit in limits.items())
        goodput = (f"{m} {f['goodput_per_s']:.4g}/s ({f['good_share']:.1%})" for m, f in results.modes.items())
        yield f"goodput, requests within {words}: {', '.join(goodput)}"
    if results.replications > 1:
        yield (
            f"means over {results.replications} draws of the workload, seeds {results.seed} to "
            f"{results.seed + results.replications - 1}; +- is a 95 % interval, bootstrapped over them"
        )
