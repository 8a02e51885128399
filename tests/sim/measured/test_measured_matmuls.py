"""100 square matmuls on an H200, none of which any constant was fitted to."""

import pytest
from measured_rows import beyond, h200, shown

from sim.studies.micro import comparison
from sim.studies.micro.tables import Row


@pytest.fixture(scope="module")
def on_the_drifted_host() -> dict[str, Row]:
    """Rows with the host scaled by one number, found on the smallest matmuls launched one by one."""
    scale = comparison.drift(h200())
    assert scale == pytest.approx(1.5, abs=0.05)
    rows = shown(comparison.matmuls(h200(), h200().scaled(scale)))
    return {row.name: row for row in rows}


def of_size(rows: dict[str, Row], *sizes: int) -> list[Row]:
    return [rows[f"{how} {n}"] for n in sizes for how in ("eager", "graph")]


def test_sizes_from_128_to_1024_come_out_within_3_percent(on_the_drifted_host: dict[str, Row]) -> None:
    assert beyond(of_size(on_the_drifted_host, 128, 256, 512, 1024), 3) == {}


def test_size_2048_comes_out_within_8_percent(on_the_drifted_host: dict[str, Row]) -> None:
    assert beyond(of_size(on_the_drifted_host, 2048), 8) == {}


def test_graphs_need_no_host_scale() -> None:
    rows = shown(comparison.matmuls(h200(), h200().costs))
    graphs = [row for row in rows if row.name.startswith("graph") and row.name != "graph 4096"]
    assert len(graphs) == 6
    assert beyond(graphs, 12) == {}
