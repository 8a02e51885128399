"""The bench: tests do not depend on which machines and engines are shipped."""

from pathlib import Path

import pytest
from bench_files import ENGINE, PROFILE, PROGRAM, SERVING


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Return a folder with profile.toml, engine.toml, serving.toml and program.toml."""
    texts = {"profile": PROFILE, "engine": ENGINE, "serving": SERVING, "program": PROGRAM}
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path
