"""TOML tables: keys are taken one by one, and every error names its key with the path to it."""

from __future__ import annotations

import tomllib

import pytest

from pagethrift.errors import UsageError
from pagethrift.toml_table import TomlTable
from pagethrift.units import parse_seconds

TEXT = """
name = "demo"
runs = 3
exact = true
[link]
delay = "5ms"
[[load]]
keys = 1
[[load]]
keys = 2
"""


@pytest.fixture
def table() -> TomlTable:
    return TomlTable(tomllib.loads(TEXT))


def test_what_is_taken_is_not_left(table: TomlTable) -> None:
    assert (table.get("name", str, ""), table.get("runs", int, 1), table.get("exact", bool, False)) == (
        "demo", 3, True,
    )  # fmt: skip
    link = table.table("link")
    assert link.quantity("delay", parse_seconds, 0.0) == 0.005
    assert [load.get("keys", int, 0) for load in table.tables("load")] == [1, 2]
    for each in (table, link):
        each.refuse_rest()


def test_what_is_missing_has_its_default(table: TomlTable) -> None:
    assert table.get("nothing", float, 0.5) == 0.5
    assert table.quantity("nothing", parse_seconds, None) is None
    assert table.table("nothing").get("deeper", str, "default") == "default"
    assert table.tables("nothing") == []


def test_errors_name_the_key_and_its_path(table: TomlTable) -> None:
    with pytest.raises(UsageError, match="name must be int, not 'demo'"):
        table.get("name", int, 0)
    with pytest.raises(UsageError, match="runs must be a table"):
        table.table("runs")
    with pytest.raises(UsageError, match=r"^load\[1\]\.keys must be str, not 2"):
        table.tables("load")[1].get("keys", str, "")
    link = TomlTable({"delay": "soon", "dealy": 1}, "link.")
    with pytest.raises(UsageError, match=r"^link\.delay: "):
        link.quantity("delay", parse_seconds, 0.0)
    with pytest.raises(UsageError, match=r"unknown key link\.dealy"):
        link.refuse_rest()


@pytest.mark.parametrize(("value", "kind"), [(True, int), (1, bool), (0, bool)])
def test_truth_is_no_number(value: object, kind: type) -> None:
    """Python's bool is an int; a scenario's is not."""
    with pytest.raises(UsageError, match=f"key must be {kind.__name__}"):
        TomlTable({"key": value}).get("key", kind, None)
