"""The tables of the documents are what the commands named above them print now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts import documents

from pagethrift.errors import UsageError

GRID = "python -m scripts.studies.grid docs/results/faithful.json"
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
OUTPUT = "# One\na\n## Inner\nb\n# Two\nc\n"


@pytest.mark.slow
def test_every_table_is_of_its_result_file() -> None:
    found = documents.stale(documents.documents())
    assert [str(path.relative_to(documents.ROOT)) for path in found] == [], "run python -m scripts.documents"


def test_every_archive_has_a_table_or_is_named() -> None:
    told = "".join(path.read_text() for path in documents.documents())
    results = list((documents.ROOT / "docs/results").glob("*.parquet"))
    assert len(results) > 10
    assert [path.name for path in results if f"results/{path.name}" not in told] == []


def test_links_to_results_lead_somewhere() -> None:
    pages = [path for path in documents.documents() if path.parent == documents.ROOT / "docs"]
    links = [(path, link) for path in pages for link in LINK.findall(path.read_text())]
    assert len(links) > 30
    assert [(path.name, link) for path, link in links if not (path.parent / link).exists()] == []


def test_a_changed_number_is_found_and_put_right(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n<!-- begin: {GRID} -->\n<!-- end -->\nafter\n")
    (right,) = documents.stale([path]).values()
    assert right.startswith("before\n")
    assert right.endswith("\nafter\n")
    assert "\n| counters, 100 Mbit/s | 26.8 / 26.9 (+0%) |" in right
    path.write_text(right)
    assert documents.stale([path]) == {}
    path.write_text(right.replace("26.8 / 26.9", "26.7 / 26.9"))
    assert documents.stale([path]) == {path: right}


@pytest.mark.parametrize(
    ("title", "lines"),
    [("One", "a\n## Inner\nb"), ("Inner", "b"), ("Two", "c")],
    ids=["outer", "inner", "last"],
)
def test_a_part_is_what_stands_below_its_heading(title: str, lines: str) -> None:
    assert documents.section(OUTPUT, title) == lines
    marked = f"<!-- begin: x # {title} -->\nold\n<!-- end -->"
    assert (
        documents.filled(marked, {"x": OUTPUT}) == f"<!-- begin: x # {title} -->\n\n{lines}\n\n<!-- end -->"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "<!-- begin: pagethrift report docs/results/none.parquet -->\n<!-- end -->",
            "docs/results/none.parquet does not exist",
        ),
        (f"<!-- begin: {GRID} # None -->\n<!-- end -->", "no heading 'None'"),
        ("<!-- begin: rm -r results -->\n<!-- end -->", "a mark runs pagethrift"),
        ("<!-- begin: python -m scripts.studies.grid -->\n", "without its end"),
        ("<!-- end -->", "without its end, or an end"),
    ],
)
def test_marks_that_cannot_be_filled_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(UsageError, match=words):
        documents.stale([tmp_path / "page.md"])
