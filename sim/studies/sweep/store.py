"""Rows on disk: appended as they are found, and a Parquet file of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from sim.studies.sweep.evaluate import Row
from sim.timeline.chrome import replacing


class Store:
    """Rows by their ``point``. ``FILE.parquet.rows`` beside the Parquet file takes each row as soon as it is there.

    A line that an interruption cut short is left out. As a context it writes the Parquet file at its end, whose columns
    are all keys that any row has, and removes the rows; if it is left by an error or killed, the rows stay. Without a
    ``path`` nothing is written.
    """

    def __init__(self, path: Path | None, *, resume: bool = False) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        if path is None:
            return
        self._log = path.with_name(f"{path.name}.rows")
        if resume:
            self._put(read_parquet(path) if path.exists() else [])
            self._put(self._logged())
        with replacing(self._log) as temporary:
            temporary.write_text("".join(map(_line, self.rows.values())), encoding="utf-8")
        self._lines = self._log.open("a", encoding="utf-8")

    def append(self, rows: Iterable[Row]) -> None:
        """Keep some rows; a point that is already there is replaced, not doubled."""
        for row in rows:
            self._put([row])
            if self.path is not None:
                self._lines.write(_line(row))
        if self.path is not None:
            self._lines.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self.path is None:
            return
        self._lines.close()
        if error is None:
            if self.rows:
                write_parquet(self.path, list(self.rows.values()))
            self._log.unlink()

    def _put(self, rows: Iterable[Row]) -> None:
        self.rows |= {row["point"]: row for row in rows}

    def _logged(self) -> list[Row]:
        if not self._log.exists():
            return []
        text = self._log.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]


def _line(row: Row) -> str:
    return f"{json.dumps(row)}\n"


def write_parquet(path: Path, rows: list[Row]) -> None:
    """All rows as one Parquet file; a column that a row lacks is null there."""
    import duckdb

    keys = dict.fromkeys(key for row in rows for key in row)
    with replacing(path) as temporary:
        lines = temporary.with_suffix(".json")
        try:
            lines.write_text("".join(json.dumps({key: row.get(key) for key in keys}) + "\n" for row in rows))
            with duckdb.connect() as database:
                database.execute(
                    f"COPY (SELECT * FROM read_json({_quoted(lines)}, format = 'newline_delimited', "  # noqa: S608
                    f"sample_size = -1)) TO {_quoted(temporary)} (FORMAT parquet)"
                )
        finally:
            lines.unlink(missing_ok=True)


def read_parquet(path: Path) -> list[Row]:
    """The rows of a Parquet file."""
    import duckdb

    with duckdb.connect() as database:
        found = database.execute(f"SELECT * FROM read_parquet({_quoted(path)})")  # noqa: S608
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, values, strict=True)) for values in found.fetchall()]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
