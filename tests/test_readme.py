"""The README tells the truth."""

import pytest
from readme import TABLES, blocks, output, table, tables


@pytest.mark.parametrize(("command", "shown"), blocks(), ids=lambda text: text[:60].splitlines()[0] if text else "")
def test_a_console_block_shows_what_its_command_prints(command: str, shown: str) -> None:
    assert output(command) == shown


@pytest.mark.parametrize("mark", TABLES)
def test_a_table_of_measurements_shows_what_its_module_prints(mark: str) -> None:
    assert tables()[mark] == table(mark)
