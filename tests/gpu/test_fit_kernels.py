"""Kernels out of layers: layers are built of known kernels, and the fit must find those again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu.calibration.fit_kernels import kernel_costs
from gpu.calibration.layer_parts import LayerRow, Part
from gpu.calibration.measurements import Measurements
from scenarios.loader import load_model

GAP, LAYERS, TILE = 0.25, 4, 16
LAYER = ("qkv", "rope", "kv_write", "attention", "combine", "o", "norm", "gate_up", "silu", "down", "norm")
PREFILL = tuple(name for name in LAYER if name != "combine")
BASE = 768
SHAPE = load_model("llama-3.1-8b")


def row(us: dict[str, float], rows: int = 2, phase: str = "decode", contexts: dict[int, float] | None = None) -> Any:
    """A few layers of kernels that take so long, whole and with each kind left out; ``contexts`` are of attention."""
    layer = LAYER if phase == "decode" else PREFILL
    once = [us.get("embedding", 2.0), us.get("head", 100.0), us["norm"]]
    one = sum(us[name] + GAP for name in layer)
    whole = LAYERS * one + sum(once) + 2 * GAP + 3.0
    counts = Counter(layer)
    without = {name: whole - LAYERS * count * (us[name] + GAP) for name, count in counts.items()}
    without |= {"embedding": whole - once[0] - GAP, "head": whole - once[1] - GAP, "half": whole - LAYERS // 2 * one}
    more = {name: whole + us.get(name, 5.0) + GAP for name in ("argmax", "resolve", "store")}
    grown = {c: whole + LAYERS * (at - us["attention"]) for c, at in (contexts or {BASE: us["attention"]}).items()}
    return {
        "model": SHAPE.name, "phase": phase, "layers": LAYERS, "rows": rows, "base": BASE, "whole": whole,
        "without": without, "with": more if phase == "decode" else {}, "contexts": list(map(list, grown.items())),
    }  # fmt: skip


def durations(seed: float = 1.0) -> dict[str, float]:
    return {name: seed * (1 + number) for number, name in enumerate(dict.fromkeys(LAYER))}


positive = st.floats(1.0, 500.0)


@given(st.fixed_dictionaries(dict.fromkeys(dict.fromkeys(LAYER), positive)))
def test_every_kernel_of_a_layer_comes_back(us: dict[str, float]) -> None:
    found = {part.name: part.us for part in LayerRow(row(us), GAP).parts(unasked)}
    for name, expected in us.items():
        assert found[name] == pytest.approx(expected, rel=1e-6)
    assert found["head"] == pytest.approx(100.0)
    assert found["argmax"] == pytest.approx(5.0)


@given(st.fixed_dictionaries(dict.fromkeys(dict.fromkeys(LAYER), positive)), st.floats(-0.2, 0.2))
def test_kernels_add_up_to_the_layer_whatever_leaving_one_out_measured(us: dict[str, float], noise: float) -> None:
    noisy = row(us | {"gate_up": 2000.0})  # one at least is always known
    noisy["without"]["o"] *= 1 + noise
    layer = LayerRow(noisy, GAP)
    parts = {part.name: part.us + GAP for part in layer.parts(lambda _: 1.0) if part.name in LAYER}
    assert sum(value * LAYER.count(name) for name, value in parts.items()) == pytest.approx(layer.layer)
    assert min(parts.values()) > GAP


def test_a_kernel_shorter_than_what_its_layer_leaves_open_takes_its_estimate_and_is_not_known() -> None:
    us = durations() | {"gate_up": 500.0}
    odd = row(us)
    odd["without"]["half"] -= LAYERS // 2 * 20.0  # a layer takes 20us more than its kernels say
    layer = LayerRow(odd, GAP)
    assert {part.name for part in layer.known()} == {"gate_up", "head"}
    parts = {part.name: part.us for part in layer.parts(lambda _: 3.0)}
    assert {parts[name] for name in LAYER if name != "gate_up"} == {3.0}
    assert parts["gate_up"] == pytest.approx(layer.layer - len(LAYER) * GAP - 3.0 * (len(LAYER) - 1))
    assert (parts["embedding"], parts["argmax"]) == (3.0, 3.0)


def test_attention_grows_with_the_context_by_what_the_layers_take_longer() -> None:
    us = durations()
    parts = LayerRow(row(us, contexts={384: 2.0, BASE: us["attention"], 1536: 9.0}), GAP).parts(unasked)
    attention = {part.context: part.us for part in parts if part.name == "attention"}
    assert attention == pytest.approx({384: 2.0, BASE: us["attention"], 1536: 9.0})


def unasked(part: Part) -> float:
    raise AssertionError(f"{part} is known")


def measurements(rows: list[Any]) -> Measurements:
    squares = [{"n": 1024, "us": GAP + 5.0}]
    adds = [{"elements": n, "us": GAP + 1.0 + 12 * n / 4e6} for n in (1 << 10, 1 << 20, 1 << 28)]
    copies = [{"bytes": size, "d2d_us": 2.0 + 2 * size / 4e6} for size in (1 << 10, 1 << 20, 1 << 28)]
    return Measurements(
        host={}, device={"copies": copies}, kernels={"squares": squares, "adds": adds},
        layers={"rows": rows, "row_tile": TILE, "input_width": 100}, engine={}, profiled={},
    )  # fmt: skip


def tables(cost: dict[str, Any]) -> dict[tuple[int, ...], list[Any]]:
    return {tuple(table["shape"]): table["points"] for table in cost["table"]}


def test_tables_hold_what_was_planted_by_shape_and_rows() -> None:
    us = durations()
    contexts = {384: 3.0, BASE: us["attention"], 1536: 6.0}
    decode = [row({name: value + rows / 10 for name, value in us.items()}, rows, contexts={
        c: at + rows / 10 for c, at in contexts.items()}) for rows in (12, 60)]  # fmt: skip
    kinds = kernel_costs(measurements([*decode, row(us, 1536, "prefill")]), GAP)
    gemm, s = tables(kinds["gemm"]), SHAPE
    assert gemm[s.hidden, s.q_size] == [[16, "7.2us"], [64, "12us"], [1536, "6us"]]
    assert gemm[s.vocab, s.hidden] == [[16, "100us"], [64, "100us"]]
    assert gemm[1024, 1024] == [[1024, "5us"]]
    attention = tables(kinds["attention_decode"])
    assert attention[s.heads, s.kv_heads, s.head_dim, 12] == [[384, "4.2us"], [768, "5.2us"], [1536, "7.2us"]]
    assert tables(kinds["attention_prefill"])[s.heads, s.kv_heads, s.head_dim, 1] == [[1536, "4us"]]
    assert tables(kinds["norm"])[s.hidden,] == [[12, "8.2us"], [60, "13us"], [1536, "7us"]]
    assert (kinds["elementwise"]["floor"], kinds["elementwise"]["bandwidth"]) == ("1us", "4TB/s")
    assert (kinds["copy"]["floor"], kinds["copy"]["bandwidth"]) == ("2us", "4TB/s")


def test_of_several_prompts_the_attention_alone_is_taken_by_their_number_and_length() -> None:
    us = durations()
    several = row(us | {"attention": 7.5, "o": 99.0}, 1152, "prefill") | {"prompts": 3}
    several["without"] = {"attention": several["without"]["attention"]}
    kinds = kernel_costs(measurements([row(us), row(us, 1536, "prefill"), several]), GAP)
    s = SHAPE
    assert tables(kinds["attention_prefill"])[s.heads, s.kv_heads, s.head_dim, 3] == [[384, "7.5us"]]
    assert [rows for rows, _ in tables(kinds["gemm"])[s.hidden, s.q_size]] == [16, 1536]


def test_by_how_much_layers_are_missed_is_told() -> None:
    odd = row(durations() | {"gate_up": 500.0})
    odd["without"]["half"] -= LAYERS // 2 * 10.0
    rows = [odd, odd | {"rows": 12}, row(durations()), row(durations(), 1536, "prefill")]
    source = kernel_costs(measurements(rows), GAP)["norm"]["source"]
    assert "kinds add up to a layer but for median 0.9%, p90 1.8% of 4 rows" in source
