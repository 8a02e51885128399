"""One table of what the benchmarks found, for people who have not read them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HEAD = ("benchmark", "speed", "compared in the same run", "goal")
FOUND: list[tuple[str, str, str, str]] = []
Told = Callable[..., None]


@pytest.fixture
def told() -> Told:
    """Takes a benchmark's name, its speed, what it was compared with and the goal of that, if there is one."""

    def tell(name: str, speed: str, compared: str = "", goal: str = "") -> None:
        FOUND.append((name, speed, compared, goal))

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table under what pytest says."""
    if FOUND:
        terminalreporter.section("speed of the simulator, CPU time of one core")
        terminalreporter.write_line(f"{_processor()}, Python {platform.python_version()}")
        widths = [max(map(len, column)) for column in zip(HEAD, *FOUND, strict=True)]
        for row in (HEAD, tuple("-" * width for width in widths), *FOUND):
            terminalreporter.write_line("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)))


def _processor() -> str:
    return next(_named(Path("/proc/cpuinfo")), platform.processor() or platform.machine())


def _named(path: Path) -> Iterator[str]:
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                yield line.partition(":")[2].strip()
