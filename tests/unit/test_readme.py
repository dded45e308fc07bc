"""README and docs: short, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.documents import README, ROOT, anchors, code_blocks, links, rows_of

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("traces/*.md")])
SCREEN_LINES = 40
MOST_COLUMNS = 5


def test_a_section_fits_a_screen() -> None:
    for section in re.split(r"^## ", README.read_text(), flags=re.MULTILINE):
        assert len(section.splitlines()) <= SCREEN_LINES, section.partition("\n")[0]
    lines = README.read_text().splitlines()
    assert max(len(line) for line in lines if not line.startswith("<!--")) <= 140


def test_one_table_of_few_columns() -> None:
    text = README.read_text()
    assert len(re.findall(r"^\| ---", text, re.MULTILINE)) == 1
    assert max(row.count("|") - 1 for row in rows_of(text)) <= MOST_COLUMNS


def test_code_blocks_are_small() -> None:
    for block in code_blocks(README):
        lines = block.text.splitlines()
        assert len(lines) <= 8
        assert max(map(len, lines)) <= 94


def test_the_two_commands_are_named() -> None:
    text = README.read_text()
    for target in ("demo", "test"):
        assert re.search(rf"^make {target} +# \w", text, re.MULTILINE)
        assert re.search(rf"^{target}: ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_extras_exist() -> None:
    extras = set(re.findall(r"'\.\[(\w+)\]'", README.read_text()))
    known = re.findall(r"^(\w+) = \[$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert extras == {"report", "sweep", "lab", "libvirt"} <= {*known}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert [link for link in links(document) if not leads_somewhere(document, link)] == []


def leads_somewhere(document: Path, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    if re.match(r"[a-z]+:", path):
        return True
    target = (document.parent / path).resolve() if path else document
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target)
