"""Files that users give: whatever is in them, a reader ends with one short line that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pagethrift.errors import UsageError
from pagethrift.given_file import read_bytes
from pagethrift.lab.load.spec import LoadSpec
from pagethrift.lab.matrix import read_compared
from pagethrift.lab.run_files import read_run
from pagethrift.lab.scenario import read_scenario
from pagethrift.report.load import load
from pagethrift.results.archive import ARCHIVE_SCHEMA
from pagethrift.simulator.replay import replay
from pagethrift.simulator.sweep_spec import read_spec
from pagethrift.strategies.table import parse_parameters
from pagethrift.trace.facts_log import read_facts
from pagethrift.trace.format import COLUMNS, METADATA_KEY
from pagethrift.trace.read import read_trace
from tests.unit.report.samples import migration

DIGITS = "9" * 5000
"""more than Python makes an int of"""
ROOT = Path(__file__).parents[2]


def refused(read: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        read()
    said = str(caught.value)
    assert said
    assert said.isprintable()
    assert len(said) < 300
    return said


READERS: dict[str, Callable[[Path], object]] = {
    "scenario": read_scenario,
    "matrix": read_compared,
    "sweep": read_spec,
    "trace": read_trace,
    "facts": lambda path: replay(read_facts(path)),
    "run": read_run,
    "report": lambda path: load([path]),
    "archive": lambda path: load([path.rename(path.with_suffix(".parquet"))]),
}
CONTENTS = {
    "empty": b"",
    "no-utf8": b"name = '\xff\xfe'\n",
    "utf16": '{"schema": 1}'.encode("utf-16"),
    "nul": b"\0" * 100,
    "deep-array": b"x = " + b"[" * 100_000,
    "deep-table": b"x = " + b"{a=" * 100_000,
    "deep-json": b"[" * 100_000,
    "deep-key": b'{"schema": ' * 50_000,
    "digits": b"repetitions = " + DIGITS.encode(),
    "json-digits": b'{"schema": ' + DIGITS.encode() + b"}",
    "long-name": b"x" * 100_000 + b" = 1\n",
    "parquet": b"PAR1" + b"\xff" * 100 + b"PAR1",
    "list": b"[1, 2]",
    "text": b'"text"',
    "null": b"null",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_no_such_file_is_said_on_one_line(reader: str, content: str, tmp_path: Path) -> None:
    if (reader, content) in (("scenario", "empty"), ("matrix", "empty")):
        return  # a scenario of defaults
    path = tmp_path / "given"
    path.write_bytes(CONTENTS[content])
    refused(lambda: READERS[reader](path))


@pytest.mark.parametrize("reader", [name for name in READERS if name != "archive"])
def test_a_file_that_cannot_be_read_is_named(reader: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none", tmp_path / "folder", tmp_path / "a\0b", tmp_path / ("x" * 300)):
        said = refused(lambda path=path: READERS[reader](path))  # type: ignore[misc]
        assert path.name[:1] in said


def test_a_file_too_large_to_be_right_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.write_bytes(b"x" * 11)
    assert read_bytes(path, 11) == b"x" * 11
    assert "is it the right file?" in refused(lambda: read_bytes(path, 10))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[migration]\nmodes = [1]", "migration.modes must be texts in quotes, not 1"),
        ("[migration]\nmodes = [['plain']]", "migration.modes must be texts"),
        ("[migration]\ncheck_ram = [true]", "migration.check_ram must be texts"),
        ("[migration]\nmodes = 'plain'", "migration.modes must be list"),
        ("[migration]\nmodes = ['multifd:²']", "1 to 255 channels"),
        ("[migration]\nmodes = ['pagethrift+multifd:0']", "1 to 255 channels"),
        ("[migration]\nmodes = ['pagethrift:margin=1e999']", "is not a parameter"),
        ("[migration]\nmodes = ['pagethrift:margin=nan']", "is not a parameter"),
        ("[migration]\nmodes = ['xbzrle:64']", "64: give a unit: 64B or 64MiB"),
        ("[migration]\ndowntime_limit = 300", "migration.downtime_limit: 300: give a unit: 300ms or 300s"),
        (f"[migration]\ndowntime_limit = '{'9' * 400}s'", "is not a duration"),
        ("[migration]\nrepetitions = 0", "migration.repetitions is 0; it must be 1 to 1000"),
        ("[migration]\nrepetitions = 99999999999999999999", "at most 63 bits"),
        ("[guest]\nmemory = 1024", "guest.memory: 1024: give a unit"),
        (f"[guest]\nmemory = '{'9' * 400}G'", "guest.memory: "),
        ("[guest]\ncpus = -1", "guest.cpus is -1; it must be 1 to 255"),
        ("[guest]\ncpus = 1e99", "guest.cpus must be int"),
        ("[link]\nbandwidth = 100", "link.bandwidth: 100: give a unit: 100Mbit or 100MB/s"),
        ("[link]\nchanges = [{after = 5, bandwidth = '50Mbit'}]", "give a unit"),
        ("[link]\nchanges = [1]", "must be a table"),
        ("[load]\nseed = -1", "load: seed must be 0.."),
        ("[load]\nkeys = 1.5", "load.keys must be int, not 1.5"),
        ("[load]\nkeys = true", "load.keys must be int, not True"),
        ("[load]\nrate_per_s = inf", "load.rate_per_s must be a finite number"),
        ("[load]\nset_share = nan", "load.set_share must be a finite number"),
        ("[load]\nduration_s = 1e300", "duration_s must be positive and at most"),
        ("[load]\nprotocol = 1", "load.protocol is 1; choose one of memcached, redis"),
        ("[load]\nprotocol = ['redis']", "choose one of memcached, redis"),
        ("[memcaslap]\nwindow = 10", "memcaslap.window must be str"),
        ("[memcaslap]\nwindow = '1٣k'", "window must be like 10k"),
        ("[memcaslap]\nvalue_bytes = 0", "value_bytes must be 1.."),
        ("name = '../up'", "it names the result files"),
        ("name = 'a\\\\nb'\n", "it names the result files"),
        (f"name = '{'x' * 300}'", "it names the result files"),
        ("name = ''", "it names the result files"),
        ("guest = 1", "guest must be a table"),
    ],
)
def test_scenarios(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text(text)
    assert says in refused(lambda: read_scenario(path))


@pytest.mark.parametrize(
    "text",
    [
        "scenarios = [1]",
        "scenarios = ['a\\u0000b']",
        'scenarios = ["a\\u0000b"]',
        "scenarios = ['one.toml']\nmodes = [1]",
        "scenarios = ['one.toml']\nrepetitions = -1",
        "scenarios = ['one.toml']\nbandwidth = 100",
        "scenarios = ['one.toml']\nqemu = [[1]]",
    ],
)
def test_matrices(text: str, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("")
    path = tmp_path / "matrix.toml"
    path.write_text(text)
    refused(lambda: read_compared(path))


N = list(range(1, 99))
SPEC = {
    "traces": "['idle.parquet']", "bandwidths": "['1Gbit']", "strategies": "[{name = 'pagethrift'}]",
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("traces", "[1]"), ("traces", "'idle.parquet'"), ("traces", '["a\\u0000b"]'), ("traces", "[['x']]"),
        ("bandwidths", "[100]"), ("bandwidths", "100"), ("bandwidths", f"['{'9' * 400}Mbit']"),
        ("speeds", "[inf]"), ("speeds", "[nan]"), ("speeds", "['fast']"), ("speeds", "0"),
        ("seeds", "[-1]"), ("seeds", "[99999999999999999999]"), ("seeds", "['x']"), ("seeds", "5"),
        ("delays", "[5]"), ("delays", "[[1]]"), ("downtime_limits", "[300]"), ("give_up", "60"),
        ("force_after", "[5]"), ("force_after", "5"), ("strategies", "[1]"), ("strategies", "[{}]"),
        ("strategies", "[{name = ['x']}]"), ("strategies", "[{name = 'pagethrift', parameters = 1}]"),
        ("strategies", "[{name = 'pagethrift', parameters = {margin = inf}}]"),
        ("strategies", "[{name = 'pagethrift', parameters = {margin = 'x'}}]"),
        ("strategies", "[{name = 'pagethrift', parameters = {nothing = 1}}]"),
        ("strategies", "[{name = 'pagethrift', stop = 1}]"),
        ("strategies", f"[{{name = 'hu', parameters = {{series = {N}, ones = {N}, rounds = {N}}}}}]"),
    ],
)  # fmt: skip
def test_sweeps(key: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "idle.parquet").write_bytes(b"")
    path = tmp_path / "sweep.toml"
    path.write_text("".join(f"{name} = {text}\n" for name, text in (SPEC | {key: value}).items()))
    refused(lambda: read_spec(path))


HEADER: dict[str, Any] = {
    "schema": "pagethrift.trace", "version": 1, "memory_bytes": 4096, "blocks": [["pc.ram", 4096]],
    "interval_s": 0.2, "delta_source": "exact", "warnings": [],
    "sweeps": [{"began_s": float(n), "duration_s": 0.0, "rows": 0} for n in range(3)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("blocks", [["pc.ram", float("inf")]]), ("blocks", [["pc.ram", float("nan")]]), ("blocks", 5),
        ("blocks", [["pc.ram", 1 << 70]]), ("blocks", [["pc.ram", -4096]]), ("blocks", []), ("blocks", [[]]),
        ("blocks", [["\ud800", 4096]]), ("sweeps", [{"began_s": "x", "duration_s": 0, "rows": 0}] * 3),
        ("sweeps", [{"began_s": float("inf"), "duration_s": 0, "rows": 0}] * 3), ("sweeps", [1, 2, 3]),
        ("sweeps", [{"rounds": 1}] * 3), ("delta_source", ["exact"]), ("version", float("inf")),
        ("warnings", 3),
    ],
)  # fmt: skip
def test_trace_headers(key: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    text = json.dumps(HEADER | {key: value})
    pq.write_table(COLUMNS.empty_table().replace_schema_metadata({METADATA_KEY: text}), path)
    refused(lambda: read_trace(path))


def test_trace_columns_and_seeds(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    metadata = {METADATA_KEY: json.dumps(HEADER)}
    for table in (pa.table({"swep": [1]}), pa.table({name: ["x"] for name in COLUMNS.names})):
        pq.write_table(table.replace_schema_metadata(metadata), path)
        refused(lambda: read_trace(path))
    idle = ROOT / "traces/idle.parquet"
    for seed in (-1, 1 << 63):
        assert "seed" in refused(lambda seed=seed: read_trace(idle, seed))  # type: ignore[misc]


@pytest.mark.parametrize(
    "lines",
    [
        ['{"parameters": [1]}'], ['{"parameters": {"a": 1e999}}'], ['{"strategy": ["x"]}'],
        ["{}", "1"], ["{}", '{"facts": 1, "decision": 1}'], ["{}", '{"facts": {}, "decision": {}}'],
        ["{}", "[" * 100_000],
    ],
)  # fmt: skip
def test_facts_logs(lines: list[str], tmp_path: Path) -> None:
    head = {
        "schema": "pagethrift.facts",
        "version": 1,
        "strategy": "pagethrift",
        "stop": "",
        "parameters": {},
    }
    path = tmp_path / "facts.jsonl"
    path.write_text("\n".join([json.dumps(head | json.loads(lines[0])), *lines[1:]]))
    refused(lambda: replay(read_facts(path)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("total_time_s", "x"), ("rounds", [1]), ("rounds", 5), ("pages", 5), ("host", 7), ("mode", ["relay"]),
        ("outcome", "well"), ("parameters", 5), ("version", 1e300), ("warnings", 5),
        ("first_round_bytes", float("inf")),
    ],
)  # fmt: skip
def test_results(key: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(json.loads(migration().to_json()) | {key: value}))
    refused(lambda: load([path]))


@pytest.mark.parametrize(
    "columns", [{}, {"schema": ["x"]}, {"schema": [1], "file": [2]}, {"histograms": ["x"]}]
)
def test_archives(columns: dict[str, list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    metadata = {"schema": ARCHIVE_SCHEMA, "version": 1, "rows": {}, "folder": "x" * 100_000}
    table = pa.table(columns).replace_schema_metadata({ARCHIVE_SCHEMA: json.dumps(metadata)})
    pq.write_table(table, path)
    refused(lambda: load([path]))


@pytest.mark.parametrize("text", ["x", "=1", "x=", "x=1e999", "x=nan", "x=-inf", "x=one", "x" * 100_000])
def test_parameters(text: str) -> None:
    if text == "=1":
        assert parse_parameters([text]) == {"": 1.0}  # which no strategy takes
        return
    assert "write it as name=number" in refused(lambda: parse_parameters([text]))


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, '{"keys": 1e999}', '{"keys": ' + DIGITS + "}", '{"seed": -1}']
)
def test_load_specs(text: str) -> None:
    refused(lambda: LoadSpec.from_json(text))
