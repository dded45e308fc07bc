"""The page of faults has a row for each number, and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.documents import ROOT, rows_of

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NUMBERED = re.compile(r"test_(\d+)_")
ROWS = {
    int(row.split(" | ")[0].removeprefix("| ")): row
    for row in rows_of((ROOT / "docs/faults.md").read_text())
    if row[2].isdigit()
}


@cache
def functions_of(path: str) -> frozenset[str]:
    """Return the names of the test functions of a file; none when there is no such file."""
    if not (ROOT / path).is_file():
        return frozenset()
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_every_number_has_its_row() -> None:
    assert [*ROWS] == [*range(1, 33)]


def test_every_test_that_the_page_names_exists() -> None:
    named = [found for row in ROWS.values() for found in NAMED.findall(row)]
    assert [f"{path}::{name}" for path, name in named if name not in functions_of(path)] == []


def test_a_row_names_its_tests_or_says_that_there_is_none() -> None:
    assert [n for n, row in ROWS.items() if bool(NAMED.search(row)) == ("| No test. |" in row)] == []


def test_a_test_with_a_number_stands_in_the_row_of_that_number() -> None:
    path = "tests/qemu/live/test_guest_runs_once.py"
    numbered = {name: int(found[1]) for name in functions_of(path) if (found := NUMBERED.match(name))}
    assert len(numbered) > 10
    assert [name for name, number in numbered.items() if f"`{path}::{name}`" not in ROWS[number]] == []
