"""The pages tell the truth."""

import json
import re
from pathlib import Path

import pytest
from readme import PAGES, TABLES, blocks, dead_links, output, table, tables, text_of

from scenarios.loader import load_scenario
from sim.cli import main


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


@pytest.mark.parametrize(("page", "name"), [("sim/serving/README.md", "Solo"), ("sim/check/README.md", "newest_first")])
def test_a_policy_that_is_shown_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], page: str, name: str
) -> None:
    (told,) = (code for code in re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL) if f" {name}" in code)
    (tmp_path / f"shown_{name}.py").write_text(told)
    monkeypatch.chdir(tmp_path)
    sets = ["model=tiny", f"engine.policy=shown_{name}:{name}", "workload.rate=4000/s", "workload.requests=12"]
    sets += ["engine.modes=overlap-graph", "workload.output_tokens=4"]
    words = [word for text in sets for word in ("--set", text)]
    assert main(["run", "decode-qwen3-0.6b", *words, "--replications", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["modes"]["overlap-graph"]
    assert (found["batch_max"] == 1) == (name == "Solo")
