"""What ``validate`` prints: a section a configuration, the scores, and the worst cases."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.studies.table import time
from sim.studies.validation.clients import client_errors
from sim.studies.validation.drift import drift_sentence, host_ranges
from sim.studies.validation.predictors import IN_PROCESS, SHIPPED, Predictor
from sim.studies.validation.results_file import Case
from sim.studies.validation.scores import VERDICTS, Comparison, Score, error_of
from sim.studies.validation.summary import Summary

COLUMNS = (
    ("mode", 17),
    ("predicted", 9),
    ("in-process", 10),
    ("measured", 9),
    ("noise", 8),
    ("error", 6),
    ("in-process", 10),
    ("speedup", 7),
    ("measured", 8),
    ("verdict", 26),
)
LEFT = ("mode", "verdict")
COUNTED = (
    "counted: mean of what errors exceed half their noise; clear: comparisons whose measured effect exceeds its noise;"
    " speedups are of times, of throughput where clients wait for answers or requests pile up, else of TPOT"
)


def print_summary(console: Console, summary: Summary) -> None:
    """Print everything that a results file says."""
    console.print(Text(summary.title, style="bold"))
    console.print(Text(where(summary), style="dim"), soft_wrap=True)
    console.print(Text(_header(), style="bold"))
    for _, members in groupby(summary.results.cases, key=lambda case: case.configuration):
        cases = list(members)
        console.print(Text(cases[0].name.removesuffix(f" {cases[0].mode}"), style="bold"), soft_wrap=True)
        console.print(_section(cases, summary))
        for table in _clients(cases):
            console.print(table)
    console.print(_scores(summary))
    console.print(Text(COUNTED, style="dim"), soft_wrap=True)
    console.print(_verdicts(summary))
    for sentence in sentences(summary):
        console.print(sentence, soft_wrap=True, markup=False)


def where(summary: Summary) -> str:
    """The machine that was measured and what predicted it."""
    told = summary.results.provenance
    machine = told.get("gpu") or f"{told.get('on', 'unknown')} ({told.get('cpu', 'unknown')})"
    software = [f"{key} {told[key]}" for key in ("driver", "cuda", "torch") if told.get(key)]
    what = ", ".join([machine, *software, *([told["date"]] if "date" in told else [])])
    return f"measured on {what}; predicted with profile {told.get('profile', 'unknown')}"


def sentences(summary: Summary) -> Iterator[str]:
    """What stands under the tables."""
    verdicts = summary.scores[0].verdicts
    yield (
        f"{len(summary.results.cases)} cases, {verdicts.of} comparisons, of which {verdicts.no_gain} measure as no "
        f"difference or hurts; {verdicts.clear} exceed their noise"
    )
    if ranges := host_ranges(case.in_process for case in summary.results.cases):
        yield drift_sentence(ranges)
    yield from _client_scores(summary)
    for case in summary.worst:
        error = error_of(case, summary.predictor)
        parting = f": {case.parting}" if case.parting else ""
        yield f"worst: {case.name}, error {error:+.1%}{parting}"


def _header() -> str:
    return " ".join(f"{name:{'<' if name in LEFT else '>'}{width}}" for name, width in COLUMNS)


def _section(cases: list[Case], summary: Summary) -> Table:
    """One configuration's modes; all sections have the same widths, so that they read as one table."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, width in COLUMNS:
        table.add_column(width=width + 1, justify="left" if name in LEFT else "right", no_wrap=True)  # with its padding
    for case in cases:
        found = [c for c in summary.comparisons if c.case is case]
        table.add_row(*_numbers(case), *(_effect(found[0], summary.predictor) if found else [""] * 3))
        for other in found[1:]:
            table.add_row(f"  vs {other.base.mode}", *[""] * 6, *_effect(other, summary.predictor))
    return table


def _numbers(case: Case) -> list[str]:
    in_process = case.predicted_in_process_ns
    errors = [error_of(case, predictor) for predictor in (SHIPPED, IN_PROCESS)]
    return [
        case.mode,
        time(case.predicted_ns / 1000),
        "-" if in_process is None else time(in_process / 1000),
        time(case.measured / 1000),
        time(case.noise_ns / 1000),
        *("-" if error is None else f"{error:+.1%}" if abs(error) < 0.9995 else f"{error:+.0%}" for error in errors),
    ]


def _effect(comparison: Comparison, predictor: Predictor) -> list[str | Text]:
    ratio, said, found = comparison.predicted(predictor), comparison.predicted_verdict(predictor), comparison.verdict
    right = Text(found) if said == found else Text(f"{found} (said {said})", style="bold red")
    return ["-" if ratio is None else f"{ratio:.2f}x", f"{comparison.speedup:.2f}x", right]


def _clients(cases: list[Case]) -> Iterator[Table]:
    """What clients of an open loop saw, a row a metric and two columns a mode."""
    seen = [case for case in cases if case.clients]
    if not seen:
        return
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("clients saw", no_wrap=True)
    for case in seen:
        table.add_column(case.mode, justify="right", no_wrap=True)
        table.add_column("error", justify="right", no_wrap=True)
    for name in seen[0].clients:
        row: list[str | Text] = [name.removesuffix("_ns")]
        for case in seen:
            best = case.predicted_in_process_ns is not None
            found = {e.name: e for e in client_errors([case], in_process=best)}[name]
            value = time(found.measured / 1000) if name.endswith("_ns") else f"{found.measured:,.0f}"
            row += [value, Text(f"{found.error:+.1%}", style="" if found.within else "bold red")]
        table.add_row(*row)
    yield table


def _client_scores(summary: Summary) -> Iterator[str]:
    """How many of the clients' metrics each of our predictions has within their limits, and the mean error of each."""
    for key, errors in summary.clients.items():
        name = {SHIPPED.key: SHIPPED.name, IN_PROCESS.key: IN_PROCESS.name}[key]
        by_metric: dict[str, list[float]] = {}
        for error in errors:
            by_metric.setdefault(error.name.removesuffix("_ns"), []).append(abs(error.error))
        means = ", ".join(f"{metric} {sum(sizes) / len(sizes):.1%}" for metric, sizes in by_metric.items())
        within = sum(error.within for error in errors)
        yield f"clients, {name}: {within} of {len(errors)} metrics within their limits; mean errors: {means}"


def _scores(summary: Summary) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, title="absolute errors", title_justify="left")
    table.add_column("predictor", no_wrap=True)
    for name in ("cases", "counted", "mean", "median", "p95", "worst", "speedup", "verdicts", "clear"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in summary.scores:
        table.add_section()
        for row in _score_rows(one):
            table.add_row(*row)
    return table


def _verdicts(summary: Summary) -> Table:
    """Measured verdicts by predicted ones, a section a predictor."""
    table = Table(box=None, header_style="bold", pad_edge=False, title="verdicts", title_justify="left")
    for name in ("predictor", "measured"):
        table.add_column(name, no_wrap=True)
    for name in VERDICTS:
        table.add_column(f"said: {name}", justify="right", no_wrap=True)
    for one in summary.scores:
        table.add_section()
        for measured, said in one.verdicts.counts.items():
            name = one.predictor.name if measured == VERDICTS[0] else ""
            numbers = [Text(str(said[v]), style="bold red" if said[v] and v != measured else "") for v in VERDICTS]
            table.add_row(name, measured, *numbers)
    return table


def _score_rows(one: Score) -> Iterator[list[str]]:
    verdicts = one.verdicts
    for group, plain in one.plain.items():
        numbers = (one.counted[group].mean, plain.mean, plain.median, plain.p95, plain.worst)
        row = [f"{one.predictor.name}" if group == "all" else f"  {group}", str(plain.cases)]
        row += [f"{number:.1%}" for number in numbers]
        if group == "all":
            speedup = "-" if one.speedups is None else f"{one.speedups.mean:.1%}"
            row += [speedup, f"{verdicts.right}/{verdicts.of}", f"{verdicts.clear_right}/{verdicts.clear}"]
        yield row
