"""The same cells on a terminal and in Markdown."""

from __future__ import annotations

from pagethrift.model.run_result import RamEquality
from pagethrift.report.overview import Overview
from pagethrift.report.summary import rows
from pagethrift.report.tables import HEADINGS, LESS_NEEDED, cells, fitting, markdown, overview_markdown
from tests.unit.report.samples import run


def test_markdown_has_intervals_and_escapes() -> None:
    text = markdown(rows([run("<b>|x", 10.0), run("<b>|x", 20.0, 1)]))
    assert "15.0 s (10.0 s to 20.0 s)" in text
    assert "&lt;b>\\|x" in text


def test_a_narrow_terminal_goes_without_what_is_needed_least() -> None:
    table = [HEADINGS, *(cells(row, intervals=False) for row in rows([run("plain"), run("pagethrift")]))]
    assert fitting(table, 500) == [list(line) for line in table]
    for width in (80, 60):
        fitted = fitting(table, width)
        assert sum(max(map(len, column)) + 2 for column in zip(*fitted, strict=True)) <= width
        assert {"mode", "converged", "TT", "DT", "lost"} <= set(fitted[0])
    assert "MEM" not in fitting(table, 80)[0]


def test_a_terminal_shows_medians_and_markdown_their_intervals() -> None:
    (row,) = rows([run("plain", 10.0), run("plain", 20.0, 1)])
    at = HEADINGS.index("TT")
    assert cells(row, intervals=False)[at] == "15.0 s"
    assert cells(row, intervals=True)[at] == "15.0 s (10.0 s to 20.0 s)"
    for intervals in (True, False):
        assert len(cells(row, intervals)) == len(HEADINGS)
        assert cells(row, intervals)[HEADINGS.index("lost")] == "0"
        assert cells(row, intervals)[HEADINGS.index("runs")] == "2"


def test_columns_go_one_by_one_and_only_while_they_must() -> None:
    table = [HEADINGS, tuple("x" for _ in HEADINGS)]
    width = sum(len(name) + 2 for name in HEADINGS)
    assert fitting(table, width)[0] == list(HEADINGS)
    for count, gone in enumerate(LESS_NEEDED, 1):
        assert fitting(table, width - 1)[0] == [name for name in HEADINGS if name not in LESS_NEEDED[:count]]
        width -= len(gone) + 2


def test_a_mode_that_was_only_checked_has_a_line_and_no_row() -> None:
    text = markdown(rows([run("a|b", ram=RamEquality(4096, 2)), run("plain")]))
    table, _, line = text.partition("\n\n")
    assert [row.split(" | ")[0] for row in table.splitlines()[2:]] == ["| plain"]
    assert line == "RAM compared (a\\|b): 2 pages differ of 4.1 kB."


def test_an_overview_is_a_section_with_its_note() -> None:
    text = overview_markdown(Overview("Title", "Note.", ("scenario", "a|b"), (("x<y", "1 & 2"),)))
    assert text == ("### Title\n\nNote.\n\n| scenario | a\\|b |\n| --- | --- |\n| x&lt;y | 1 &amp; 2 |\n")
