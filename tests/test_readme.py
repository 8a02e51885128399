"""The pages tell the truth."""

import re
from pathlib import Path

import pytest
from readme import PAGES, TABLES, blocks, dead_links, output, table, tables, text_of

from scenarios.loader import load_scenario


@pytest.mark.parametrize(
    ("command", "shown"),
    [pytest.param(command, shown, id=f"{page}: {command[:60]}") for page, command, shown in blocks()],
)
def test_a_console_block_shows_what_its_command_prints(command: str, shown: str) -> None:
    assert output(command) == shown


@pytest.mark.parametrize("mark", TABLES)
def test_a_table_of_measurements_shows_what_its_module_prints(mark: str) -> None:
    assert tables()[mark] == table(mark)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert dead_links(page) == []


def test_the_scenario_that_is_explained_field_by_field_can_be_loaded(tmp_path: Path) -> None:
    (told,) = re.findall(r"```toml\n(.*?)```", text_of("scenarios/README.md"), re.DOTALL)
    (tmp_path / "mine.toml").write_text(told)
    assert load_scenario(str(tmp_path / "mine.toml")).scenario.title == "My server"
