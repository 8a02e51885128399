"""The console blocks and measured tables of the README: compute them, compare them, or with ``--write`` renew them."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

from scenarios.loader import load_profile
from scenarios.units import format_duration
from sim.cli import main
from sim.studies.micro.__main__ import summary
from sim.studies.micro.comparison import everything
from sim.studies.micro.tables import Tables
from sim.studies.table import time
from sim.studies.validation.clients import client_errors
from sim.studies.validation.results_file import read_results
from sim.studies.validation.summary import Summary

README = Path(__file__).parent.parent / "README.md"
RESULTS = README.parent / "gpu/results/nvidia-h200"
H100 = README.parent / "gpu/results/nvidia-h100"


def validation(folder: Path) -> None:
    """The scores of a shipped validation as a Markdown table."""
    lines = [
        "| predictor | cases | | counted | mean | p95 | worst | speedup | verdicts |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for score in Summary.of("", read_results(folder / "h200.json")).scores:
        for group, plain in score.plain.items():
            first = [score.predictor.name if group == "all" else "", str(plain.cases), group]
            errors = (score.counted[group].mean, plain.mean, plain.p95, plain.worst)
            cells = first + [f"{error:.1%}" for error in errors] + ["", ""]
            if group == "all" and score.speedups is not None:
                cells[-2:] = [f"{score.speedups.mean:.1%}", f"{score.verdicts.right}/{score.verdicts.of}"]
            lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def serving() -> None:
    """What clients of the validated open loop saw, and by how much the predictions of it were off."""
    names = ("tokens_per_s", "tpot_mean_ns", "ttft_p50_ns", "ttft_p90_ns", "tpot_p50_ns", "tpot_p90_ns")
    heads = (name.removesuffix("_ns").replace("_", " ") for name in names)
    lines = [f"| rate | mode | {' | '.join(heads)} |", "|---" * (2 + len(names)) + "|"]
    for case in read_results(H100 / "h200-serving.json").cases:
        rate = next(text.partition("=")[2] for text in case.set if text.startswith("workload.rate"))
        found = {error.name: error for error in client_errors([case], in_process=False)}
        cells = []
        for name in names:
            error = found[name]
            value = time(error.measured / 1000) if name.endswith("_ns") else f"{error.measured:,.0f}"
            cells.append(f"{value} {error.error:+.1%}{'' if error.within else ' !'}")
        lines.append(f"| {rate} | {case.mode} | {' | '.join(cells)} |")
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
    "micro": lambda: sys.stdout.writelines(summary(everything(Tables.load(RESULTS / "2026-11-23")))),
    "validation": lambda: validation(RESULTS),
    "validation-h100": lambda: validation(H100),
    "serving": serving,
    "constants": constants,
}
_BLOCK = re.compile(r"```console\n\$ (overlapsim[^\n]*)\n(.*?)```", re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Each command of the README with the output that stands under it."""
    return [(match[1], match[2]) for match in _BLOCK.finditer(README.read_text())]


def output(command: str) -> str:
    """What a command prints, errors included, without trailing blanks."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main(shlex.split(command)[1:])
    return "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())


def tables() -> dict[str, str]:
    """The tables that stand between marks, by mark."""
    return {mark: README.read_text().split(f"<!-- {mark} -->\n")[1] for mark in TABLES}


def table(mark: str) -> str:
    """What a table's module prints now."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        TABLES[mark]()
    return f"\n{printed.getvalue()}\n"


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    text = _BLOCK.sub(lambda match: f"```console\n$ {match[1]}\n{output(match[1])}```", README.read_text())
    for name in TABLES:
        before, _, after = text.split(f"<!-- {name} -->\n")
        text = f"<!-- {name} -->\n".join((before, table(name), after))
    README.write_text(text)
