"""Reading the Markdown documents: their code blocks, tables and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PYTHON_PAGE = ROOT / "docs/python.md"
NEEDS_QEMUS = "<!-- needs two QEMUs -->"


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One fenced block."""

    language: str
    """what stands behind the fence, or empty"""
    text: str
    needs_qemus: bool
    """the line before the fence says so"""


def code_blocks(document: Path) -> list[CodeBlock]:
    """Return the fenced blocks of a document, in order."""
    fenced = re.compile(r"(.*\n)?```(\w*)\n((?:(?!```).*\n)*)```\n")
    found = fenced.findall(document.read_text())
    return [CodeBlock(language, text, before.strip() == NEEDS_QEMUS) for before, language, text in found]


def fenced(document: Path, heading: str) -> list[str]:
    """Return the texts of the blocks between a heading and the next one."""
    text = re.split(rf"^#+ {re.escape(heading)}$", document.read_text(), maxsplit=1, flags=re.MULTILINE)[1]
    parts = re.split(r"^```\w*\n", text, flags=re.MULTILINE)
    blocks = []
    for before, block in zip(parts[0::2], parts[1::2], strict=False):
        if re.search(r"^#+ ", before, re.MULTILINE):
            break
        blocks.append(block)
    return blocks


def python_blocks(document: Path, needs_qemus: bool) -> list[str]:
    """Return the Python examples that do, or do not, need two QEMUs."""
    blocks = code_blocks(document)
    return [b.text for b in blocks if b.language == "python" and b.needs_qemus is needs_qemus]


def rows_of(text: str) -> list[str]:
    """Return the lines of all tables."""
    return [line for line in text.splitlines() if line.startswith("| ")]


def prose(document: Path) -> str:
    """Return a document without its fenced blocks and code spans."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", "", text)


def links(document: Path) -> list[str]:
    """Return the targets of a document's links and pictures."""
    text = prose(document)
    return re.findall(r"\]\(([^)\s]+)", text) + re.findall(r'\b(?:src|srcset|href)="([^"]+)"', text)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    fenceless = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", fenceless, re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower().strip()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}
