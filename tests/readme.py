"""Console blocks and measured tables of all pages: compute them, compare them, or with ``--write`` renew them.

``python tests/readme.py --write [PAGE ...]`` renews some, such as ``sim/fast/README.md``, or all.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scenarios.loader import load_profile
from scenarios.units import format_duration
from sim.cli import main
from sim.studies.micro.__main__ import summary
from sim.studies.micro.comparison import everything
from sim.studies.micro.tables import Tables
from sim.studies.table import time
from sim.studies.validation.clients import client_errors
from sim.studies.validation.results_file import Case, ResultsFile, read_results
from sim.studies.validation.scores import VERDICTS
from sim.studies.validation.summary import Summary
from sim.verbs import BAD_INPUT

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for folder in ("scenarios", "sim", "gpu", "tests", ".")
    for path in ROOT.joinpath(folder).glob("*.md" if folder == "." else "**/*.md")
)
GUIDE = "scenarios/chapter/README.md"
"""Written by ``overlapsim chapter`` and compared by a test of its own."""
RESULTS = ROOT / "gpu/results/nvidia-h200"
H100 = ROOT / "gpu/results/nvidia-h100"
HEADLINES = {
    "h200.json": "decode, prefill, bare launches",
    "second/h200.json": "the same on another H100, by the first one's profile",
    "h200-serving.json": "open loop: throughput, TTFT and TPOT",
    "scheduling.json": "pieces of prompts, full caches, preemption",
    "loops.json": "loops of other engines",
    "chapter.json": "a chapter's scripts and exercises",
    "training.json": "training steps",
}
"""Validations that are shipped, in the order in which they are told."""


def headline() -> None:
    """Every shipped validation in a line for each kind of case, the card and the day included."""
    lines = [
        "| what | card | measured | | cases | error | worst | verdicts |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, told in HEADLINES.items():
        for folder in (H100, RESULTS):
            if (folder / name).exists():
                lines += _headlines(told, read_results(folder / name))
    sys.stdout.write("\n".join(lines) + "\n")


def _headlines(told: str, results: ResultsFile) -> list[str]:
    card = results.provenance["gpu"].removesuffix(" HBM3").removeprefix("NVIDIA ")
    first = [told, card, results.provenance["date"]]
    clients = list(client_errors(results.cases, in_process=False))
    if all(case.clients for case in results.cases):
        errors = [abs(error.error) for error in clients]
        within = f"{sum(error.within for error in clients)} of {len(errors)} within limits"
        row = [*first, "all modes", str(len(errors)), f"{sum(errors) / len(errors):.1%}", f"{max(errors):.1%}", within]
        return [f"| {' | '.join(row)} |"]
    score = Summary.of("", results).scores[0]
    lines = []
    for group in [group for group in score.plain if group != "all"]:
        verdicts = "" if lines else f"{score.verdicts.right} of {score.verdicts.of}"
        counted = score.counted[group]
        row = [*(["", "", ""] if lines else first), group, str(counted.cases), f"{counted.mean:.1%}"]
        lines.append(f"| {' | '.join([*row, f'{score.plain[group].worst:.1%}', verdicts])} |")
    return lines


def validation(folder: Path) -> None:
    """The scores of a shipped validation as a Markdown table."""
    lines = [
        "| predictor | cases | | counted | mean | p95 | worst | speedup | verdicts | clear |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for score in Summary.of("", read_results(folder / "h200.json")).scores:
        for group, plain in score.plain.items():
            first = [score.predictor.name if group == "all" else "", str(plain.cases), group]
            errors = (score.counted[group].mean, plain.mean, plain.p95, plain.worst)
            cells = first + [f"{error:.1%}" for error in errors] + ["", "", ""]
            if group == "all" and score.speedups is not None:
                said = score.verdicts
                clear = f"{said.clear_right}/{said.clear}"
                cells[-3:] = [f"{score.speedups.mean:.1%}", f"{said.right}/{said.of}", clear]
            lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def verdicts(folder: Path) -> None:
    """How often each measured verdict met each predicted one, by predictor: helps / no difference / hurts."""
    scores = Summary.of("", read_results(folder / "h200.json")).scores
    lines = ["| measured | cases | " + " | ".join(f"said by {score.predictor.name}" for score in scores) + " |"]
    lines.append("|---" * (2 + len(scores)) + "|")
    for measured in VERDICTS:
        cells = [measured, str(scores[0].verdicts.measured(measured))]
        cells += [" / ".join(map(str, score.verdicts.counts[measured].values())) for score in scores]
        lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def serving() -> None:
    """What clients of the validated open loop saw, and by how much the predictions of it were off."""
    names = ("tokens_per_s", "tpot_mean_ns", "ttft_p50_ns", "ttft_p90_ns", "tpot_p50_ns", "tpot_p90_ns")
    _clients("h200-serving.json", "rate", lambda case: _set(case, "workload.rate"), names)


def scheduling() -> None:
    """The same of prompts in pieces and whole, and of a cache that is too small."""
    names = ("tokens_per_s", "tpot_mean_ns", "ttft_p50_ns", "ttft_p90_ns", "itl_p50_ns", "itl_p90_ns", "itl_p99_ns")
    whole = {"false": ", whole"}
    _clients(
        "scheduling.json", "scenario",
        lambda case: f"{case.scenario}{whole.get(_set(case, 'engine.chunked_prefill'), '')}", names,
    )  # fmt: skip


def _set(case: Case, key: str) -> str:
    """What a case sets a field to; empty where it leaves it."""
    return next((text.partition("=")[2] for text in case.set if text.startswith(f"{key}=")), "")


def _clients(name: str, head: str, label: Callable[[Case], str], metrics: Sequence[str]) -> None:
    """The median run of every case, and the error of its prediction by host costs of its process; ! beyond limits."""
    heads = (metric.removesuffix("_ns").replace("_", " ") for metric in metrics)
    lines = [f"| {head} | mode | {' | '.join(heads)} |", "|---" * (2 + len(metrics)) + "|"]
    for case in read_results(H100 / name).cases:
        found = {error.name: error for error in client_errors([case], in_process=True)}
        cells = []
        for metric in metrics:
            error = found[metric]
            value = time(error.measured / 1000) if metric.endswith("_ns") else f"{error.measured:,.0f}"
            cells.append(f"{value} {error.error:+.1%}{'' if error.within else ' !'}")
        lines.append(f"| {label(case)} | {case.mode} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def constants() -> None:
    """What launching and waiting cost, by the shipped profile."""
    found = load_profile("nvidia-h200").constants
    lines = ["| constant | on the H200 | residual |", "|---|---|---|"]
    for name in type(found).model_fields:
        value = getattr(found, name)
        if value is None:
            continue
        told = value.value if name == "queue_depth" else format_duration(value.value)
        lines.append(f"| `{name}` | {told} | {value.residual} |")
    sys.stdout.write("\n".join(lines) + "\n")


TABLES = {
    "headline": headline,
    "micro": lambda: sys.stdout.writelines(summary(everything(Tables.load(RESULTS / "2026-11-23")))),
    "validation": lambda: validation(RESULTS),
    "validation-h100": lambda: validation(H100),
    "verdicts-h100": lambda: verdicts(H100),
    "serving": serving,
    "scheduling": scheduling,
    "constants": constants,
}
_BLOCK = re.compile(r"```console\n\$ (overlapsim[^\n]*)\n(.*?)```", re.DOTALL)
_TABLE = re.compile(r"<!-- ([a-z0-9-]+) -->\n(.*?)<!-- \1 -->", re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_ANCHOR = re.compile(r'<a id="([^"]+)">')


def text_of(page: str) -> str:
    """A page as it stands."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks() -> list[tuple[str, str, str]]:
    """Each command of each page with the output that stands under it."""
    pages = [page for page in PAGES if page != GUIDE]
    return [(page, match[1], match[2]) for page in pages for match in _BLOCK.finditer(text_of(page))]


def output(command: str) -> str:
    """What a command prints, or what it says to bad input, without trailing blanks and its progress."""
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = main(shlex.split(command)[1:])
    lines = (said if code == BAD_INPUT else printed).getvalue().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def tables() -> dict[str, str]:
    """The tables that stand between marks, by mark."""
    return {match[1]: match[2] for page in PAGES for match in _TABLE.finditer(text_of(page))}


def table(mark: str) -> str:
    """What a table's module prints now."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        TABLES[mark]()
    return f"\n{printed.getvalue()}\n"


def anchors(page: str) -> set[str]:
    """Where links into a page may go: its headings as GitHub names them, and anchors of its own."""
    without = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    heads = (
        re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()) for line in without.splitlines() if line[:1] == "#"
    )
    return {head.replace(" ", "-") for head in heads} | set(_ANCHOR.findall(without))


def dead_links(page: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    dead = []
    for link in _LINK.findall(re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(str(target.resolve().relative_to(ROOT)))):
            dead.append(link)
    return dead


def renewed(page: str) -> str:
    """A page with today's outputs and tables."""
    text = text_of(page)
    if page != GUIDE:
        text = _BLOCK.sub(lambda match: f"```console\n$ {match[1]}\n{output(match[1])}```", text)
    return _TABLE.sub(lambda match: f"<!-- {match[1]} -->\n{table(match[1])}<!-- {match[1]} -->", text)


if __name__ == "__main__" and sys.argv[1:2] == ["--write"]:
    for each in sys.argv[2:] or PAGES:
        (ROOT / each).write_text(renewed(each), encoding="utf-8")
