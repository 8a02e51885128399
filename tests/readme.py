"""The console blocks and measured tables of the README: compute them, compare them, or with ``--write`` renew them."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

from sim.cli import main
from sim.studies.micro.__main__ import summary
from sim.studies.micro.comparison import everything
from sim.studies.micro.tables import Tables

README = Path(__file__).parent.parent / "README.md"
RESULTS = README.parent / "gpu/results/nvidia-h200"
TABLES = {
    "micro": lambda: sys.stdout.writelines(summary(everything(Tables.load(RESULTS / "2026-11-23")))),
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
