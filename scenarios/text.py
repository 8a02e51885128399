"""Reading a user's text files. Free of pydantic."""

from pathlib import Path

from scenarios.errors import Problem, ScenarioError


def read_text(path: Path, label: str) -> str:
    """All of a UTF-8 file, with or without the byte order mark that some editors begin it with.

    Raises `ScenarioError`, by its `label`, for a file that cannot be read, with the line that is no UTF-8.
    """
    try:
        raw = path.read_bytes()
        return raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise ScenarioError([Problem(label, "", "no such file")]) from None
    except OSError as error:
        raise ScenarioError([Problem(label, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line, found = raw.count(b"\n", 0, error.start) + 1, raw[error.start]
        raise ScenarioError([Problem(label, f"line {line}", f"no UTF-8: found the byte {found:#04x}")]) from None
