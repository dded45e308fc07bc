"""Drawings as text and files: self-contained, small, the same bytes every time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from pagethrift.report.drawing import DARK_INK, INK, inline_svg, standalone_svg, write_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE_IN = (2.0, 1.5)


def line(figure: Figure) -> None:
    """A curve with a hatched bar: clip paths and patterns are referred to by their ids."""
    axes = figure.subplots()
    axes.plot([0, 1, 2], [0.123456, 3.0, 1.0], "o-")
    axes.bar([1], [2.0], hatch="//", color="#2f7fc1")
    axes.set_title("$x^ & <y>")


def ids(svg: str) -> set[str]:
    return set(re.findall(r'\sid="([^"]+)"', svg))


def test_two_drawings_share_no_id_on_a_page_and_keep_only_those_used() -> None:
    one, other = (inline_svg(line, SIZE_IN, name, "t", "d") for name in ("a", "b"))
    assert ids(one).isdisjoint(ids(other))
    assert all(name.startswith("a-") for name in ids(one))
    used = set(re.findall(r"""(?:href="#|url\(#)([^")]+)""", one))
    assert used
    assert ids(one) == used | {"a-title", "a-desc"}


def test_it_takes_the_colour_of_the_text_around_it() -> None:
    svg = inline_svg(line, SIZE_IN, "a", "t", "d")
    assert INK not in svg
    assert "currentColor" in svg
    assert "#2f7fc1" in svg


def test_words_are_escaped_and_are_no_formula() -> None:
    svg = inline_svg(line, SIZE_IN, "a", "<t> & t", 'd"d')
    root = ElementTree.fromstring(svg)
    said = [element.text for element in root.iter() if element.tag in ("title", "desc", "text")]
    assert said[:2] == ["<t> & t", 'd"d']
    assert "$x^ & <y>" in said


def test_nothing_is_kept_that_a_browser_does_not_need() -> None:
    svg = inline_svg(line, SIZE_IN, "a", "t", "d")
    assert not re.search(r"<metadata|<style|xmlns|font-family", svg)
    for name in ("d", "x", "transform"):
        for value in re.findall(rf'\s{name}="([^"]*)"', svg):
            assert not re.search(r"\d\.\d\d|\n", value)
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox") == "0 0 144 108"


def test_a_file_of_its_own_brings_both_papers() -> None:
    svg = standalone_svg(line, SIZE_IN, "<t>", "d")
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert f"svg{{color:{INK}" in svg
    assert f"prefers-color-scheme:dark){{svg{{color:{DARK_INK}}}" in svg
    assert INK not in svg.partition("</style>")[2]
    assert svg == standalone_svg(line, SIZE_IN, "<t>", "d")


def test_files_are_the_same_bytes_every_time_and_titled(tmp_path: Path) -> None:
    for title, shown in (("x" * 60, "x" * 60), ("x" * 61, "x" * 59 + "…")):
        made = write_files(line, SIZE_IN, tmp_path / "s1.time", title)
        assert [path.name for path in made] == ["s1.time.svg", "s1.time.png"]
        first = [path.read_bytes() for path in made]
        assert f">{shown}<" in first[0].decode()
        write_files(line, SIZE_IN, tmp_path / "s1.time", title)
        assert [path.read_bytes() for path in made] == first
