"""Every way to get a file wrong, and the line that says so."""

from pathlib import Path

import pytest
from bench_files import PROFILE

from scenarios.errors import ScenarioError
from scenarios.loader import load_scenario


def complaints(path: str | Path, *overrides: str) -> list[str]:
    """Return the printed lines, the folder of the file left out."""
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, overrides)
    return str(caught.value).replace(f"{Path(path).parent}/", "").splitlines()


def changed(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_a_scenario_nobody_ships_is_answered_with_near_names() -> None:
    assert complaints("two-steams") == [
        (
            "two-steams: no such file, expected a shipped scenario "
            "('two-streams', 'limits-two-threads' or 'published-two-threads') or a path to a .toml file"
        )
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    assert complaints("nowhere/decode.toml") == ["decode.toml: no such file"]
    assert complaints(tmp_path / "folder.toml") == ["folder.toml: a folder, expected a file"]


def test_a_suite_is_no_scenario() -> None:
    assert complaints("h200") == [
        (
            "h200: a suite, which is for 'overlapsim validate', "
            "expected a shipped scenario (see 'overlapsim list') or a path to a .toml file"
        )
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("title = 'x'\nbatch = = 1\n", "x.toml: line 2: no valid TOML: Invalid value"),
        ("title = [", "x.toml: no valid TOML: Invalid value (at end of document)"),
        ("", "x.toml: kind: missing, expected 'serving', 'program' or 'training'"),
        ("kind = 'server'", "x.toml: kind: found 'server', expected 'serving', 'program' or 'training'"),
    ],
)
def test_a_file_that_is_no_scenario_says_where_it_goes_wrong(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    assert complaints(path) == [line]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"kind = 'serving'\ntitle = 'caf\xe9'\n")
    assert complaints(path) == ["x.toml: line 2: no UTF-8: found the byte 0xe9"]


def test_a_byte_order_mark_is_no_part_of_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfkind = 'server'")
    assert complaints(path) == ["x.toml: kind: found 'server', expected 'serving', 'program' or 'training'"]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("batch = 4", "batch = 0", "workload.batch: found 0, expected an integer of at least 1"),
        ("batch = 4", "batch = '4'", "workload.batch: found '4', expected an integer of at least 1"),
        ("batch = 4", "batch = true", "workload.batch: found true, expected an integer of at least 1"),
        ("batch = 4, ", "", "workload: missing, expected one of 'batch', 'clients', 'rate' or 'trace'"),
        (
            "batch = 4",
            "batch = 4, requests = 2",
            "workload.requests: found 2, expected no such key beside 'batch'",
        ),
        (
            "batch = 4",
            "batch = 4, trace = 'a'",
            "workload.trace: found 'a', expected no such key beside 'batch'",
        ),
        (
            "batch = 4",
            "rate = '1/s'",
            "workload.requests: missing, expected an integer of at least 1, as 'rate' is set",
        ),
        (
            "batch = 4, context = 16",
            "clients = 2, requests = 4",
            "workload.context: missing, expected an integer of at least 1, as 'clients' is set",
        ),
        (
            "batch = 4",
            "batch = 4, think = '1s'",
            "workload.think: found '1s', expected no such key beside 'batch'",
        ),
        (
            "batch = 4",
            "rate = '1/s', requests = 2, arrivals = 'gamma'",
            "workload.burstiness: missing, expected a number above 0, as arrivals is 'gamma'",
        ),
        (
            "batch = 4",
            "rate = '1/s', requests = 2, burstiness = 2.0",
            "workload.burstiness: found 2.0, expected it only beside arrivals = 'gamma'",
        ),
        (
            "batch = 4",
            "rate = '1/s', requests = 2, ramp = [['1s', 2.0]]",
            "workload.ramp: found [[1000000000, 2.0]], expected pairs from '0s' on whose times never fall",
        ),
        (
            "batch = 4",
            "rate = '1/s', requests = 2, profile = { every = '1s', counts = [0, 0] }",
            "workload.profile.counts: found [0, 0], expected at least one count above 0",
        ),
        (
            "context = 16",
            "context = { kind = 'uniform', low = 2, high = 3 }",
            "workload.context: found kind 'uniform', expected an integer beside 'batch'",
        ),
        (
            "context = 16",
            "context = { kind = 'uniform', low = 3, high = 2 }",
            "workload.context.high: found 2, expected at least low (3)",
        ),
        (
            "context = 16",
            "context = { kind = 'zipf' }",
            "workload.context: found kind 'zipf', expected an integer of at least 1, or a table with kind",
        ),
        (
            "context = 16",
            "context = { kind = 'empirical', quantiles = [[0.0, 4], [0.5, 3], [1.0, 9]] }",
            "workload.context.quantiles: found [[0.0, 4], [0.5, 3], [1.0, 9]], expected pairs whose shares rise",
        ),
        (
            "batch = 4",
            "batch = 4, stop_share = 1.5",
            "workload.stop_share: found 1.5, expected a number of at least 0 and at most 1",
        ),
        ("context", "contxt", "workload.contxt: unknown key; did you mean 'workload.context'?"),
        ("title", "scale = 2\ntitle", "scale: unknown key; did you mean 'host.scale'?"),
        ("title", "zzz = 2\ntitle", "zzz: unknown key"),
        ("title", "host.extra = '-2ms'\ntitle", "host.extra: found '-2ms', expected a duration with a unit"),
        (
            "title",
            "host.extra = 2\ntitle",
            "host.extra: found 2, expected a duration with a unit, such as '4.2us'",
        ),
        ("title", "host.scale = nan\ntitle", "host.scale: found nan, expected a number of at least 0"),
        ("title", "host.jitter = 1\ntitle", "host.jitter: found 1, expected true or false"),
        ("title", "kernels = 1\ntitle", "kernels: found 1, expected a table"),
        ('"A bench"', "2026-01-01", "title: found 2026-01-01, expected a string"),
    ],
)
def test_a_bad_value_is_answered_with_what_belongs_there(bench: Path, old: str, new: str, line: str) -> None:
    path = changed(bench / "serving.toml", old, new)
    assert any(found.startswith(f"serving.toml: {line}") for found in complaints(path))


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("[]", "engine.buckets: found [], expected a list with at least one item"),
        ("[4, 2]", "engine.buckets: found [4, 2], expected a strictly increasing list"),
        ("[2, 2]", "engine.buckets: found [2, 2], expected a strictly increasing list"),
        ("[0, 2]", "engine.buckets[0]: found 0, expected an integer of at least 1"),
    ],
)
def test_buckets_are_a_rising_list_of_batch_sizes(bench: Path, value: str, line: str) -> None:
    assert complaints(bench / "serving.toml", f"engine.buckets={value}") == [f"--set: {line}"]


def test_a_mode_is_named_once_and_known(bench: Path) -> None:
    twice = 'engine.modes=["naive", "naive"]'
    assert complaints(bench / "serving.toml", twice) == [
        "--set: engine.modes: found ['naive', 'naive'], expected a list without duplicates"
    ]
    known = "'naive', 'serial-eager', 'serial-graph', 'overlap-eager' or 'overlap-graph'"
    assert complaints(bench / "serving.toml", "engine.modes=serial") == [
        f"--set: engine.modes[0]: found 'serial', expected {known}"
    ]


def test_all_errors_of_a_file_come_at_once(bench: Path) -> None:
    path = changed(bench / "serving.toml", "batch = 4, context = 16", 'batch = 0, contxt = "16"')
    assert complaints(path) == [
        "serving.toml: workload.batch: found 0, expected an integer of at least 1",
        "serving.toml: workload.contxt: unknown key; did you mean 'workload.context'?",
    ]


def test_everything_a_scenario_refers_to_is_tried_before_it_is_refused(bench: Path) -> None:
    path = changed(bench / "serving.toml", '"tiny"', '"tinny"')
    changed(path, "profile.toml", "absent.toml")
    found = complaints(path, "engine.preset=nobody")
    assert [line.split(", expected")[0] for line in found] == [
        "serving.toml: model: found 'tinny'",
        "serving.toml: hardware.profile: found 'absent.toml'",
        "--set: engine.preset: found 'nobody'",
    ]
    assert "a shipped model ('tiny')" in found[0]


def test_a_missing_trace_and_one_of_an_unknown_format_are_refused(bench: Path) -> None:
    (bench / "trace.txt").write_text("")
    for name in ("absent.csv", "trace.txt"):
        assert complaints(bench / "serving.toml", f"workload.trace={name}") == [
            f"--set: workload.trace: found '{name}', expected an existing .csv or .jsonl file"
        ]


@pytest.mark.parametrize(
    ("model", "lines"),
    [
        (
            "3",
            ["model: found 3, expected a model's name, its shape as a table, or a table with kind = 'timer'"],
        ),
        ("{kind='timr', step='1ms'}", ["model.kind: found 'timr', expected 'timer'"]),
        ("{kind='timer'}", ["model.step: missing, expected a duration with a unit, such as '4.2us'"]),
        (
            "{name='m',layers=1,hidden=8,heads=3,kv_heads=2,head_dim=4,intermediate=8,vocab=9}",
            ["model.kv_heads: found 2, expected a divisor of heads (3)"],
        ),
    ],
)
def test_a_model_in_place_is_checked_where_it_stands(bench: Path, model: str, lines: list[str]) -> None:
    assert complaints(bench / "serving.toml", f"model={model}") == [f"--set: {line}" for line in lines]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("stream_gap", "strem_gap", "constants.stream_gap: missing, expected a table with value and source"),
        ("norm = ", "nrm = ", "kernels.norm: missing, expected a table with floor and source"),
        (
            "[1, 3.5]",
            "[0.9, 3.5]",
            "jitter.quantiles: found [[0.0, 0.9], [0.5, 1.0], [0.9, 3.5]], expected pairs",
        ),
        (
            "[0.5, 1]",
            "[0.5, 4]",
            "jitter.quantiles: found [[0.0, 0.9], [0.5, 4.0], [1.0, 3.5]], expected pairs",
        ),
        (
            '"1MiB"',
            '"4B"',
            "copies.h2d.points: found [[4, 1000], [4, 20000]], expected points whose first number",
        ),
        ('["4B", "1us"]', '["4B"]', "copies.h2d.points[0][1]: missing, expected a duration with a unit"),
        ("sm = 0.5", "sm = 0", "kernels.gemm.sm: found 0, expected a number above 0 and at most 1"),
        ('"1GiB"', '"0B"', "device.memory: found '0B', expected a whole number of bytes with a unit"),
        ("[16, ", "[0, ", "kernels.gemm.table[0].points[1][0]: found 0, expected an integer of at least 1"),
    ],
)
def test_a_profile_is_held_to_its_schema(bench: Path, old: str, new: str, line: str) -> None:
    assert old in PROFILE
    changed(bench / "profile.toml", old, new)
    assert any(found.startswith(f"profile.toml: {line}") for found in complaints(bench / "serving.toml"))
