"""How wide tables are, and that they are never cut where one reads them."""

from __future__ import annotations

import pytest

from sim.studies.table import Printer, table


def printed(capsys: pytest.CaptureFixture[str], columns: int) -> list[str]:
    shown = table("mode", *(f"column {n}" for n in range(6)))
    shown.add_row("overlap-graph", *(f"{n}23.4 us +- 5.67 us" for n in range(6)))
    Printer(columns).print(shown)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_file_gets_as_many_columns_as_the_writer_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(printed(capsys, 150)) == 2


@pytest.mark.parametrize(("terminal", "width"), [(60, 80), (100, 100)])
def test_a_terminal_gets_its_width_but_no_fewer_than_80(
    monkeypatch: pytest.MonkeyPatch, terminal: int, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(terminal))
    monkeypatch.setenv("FORCE_COLOR", "1")  # what is written to counts as a terminal
    assert Printer().width == width


def test_modes_are_whole_where_numbers_are_folded(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, 80)
    assert len(lines) > 2
    assert any(line.startswith("overlap-graph ") for line in lines)
