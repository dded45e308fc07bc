"""What mkdocs calls while it builds the site (``hooks`` in mkdocs.yml)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from scripts.site import links, pages

STYLE = "assets/site.css"
RECIPES = "How-to guides"
"""where a page goes that mkdocs.yml does not name"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the commands' pages in the navigation, and every document that mkdocs.yml does not name."""
    assert config.nav is not None
    made = pages.made()
    commands = [path for path in made if path.startswith(f"{pages.COMMANDS_FOLDER}/")]
    index = _section(config.nav, pages.COMMANDS_INDEX)
    index += [path for path in commands if path != pages.COMMANDS_INDEX]
    folder = Path(config.docs_dir)
    documents = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.md"))]
    named = set(_named(config.nav))
    _section(config.nav, RECIPES).extend(path for path in documents if path not in named)
    config.extra["made"] = made
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made and the style sheet."""
    for path, markdown in config.extra["made"].items():
        files.append(File.generated(config, path, content=markdown))
    files.append(File.generated(config, STYLE, content=Path(__file__).with_name("site.css").read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn a document's links to where things stand in the site."""
    excluded = InclusionLevel.EXCLUDED
    there = frozenset(file.src_uri for file in files if file.inclusion is not excluded)
    return links.rewritten(markdown, page.file.src_uri, there, config.extra["sources"] or "")


def _section(nav: list[Any], wanted: str) -> list[Any]:
    """Return the list that stands under a title, or in which a page stands."""
    for entry in nav:
        if isinstance(entry, dict):
            for title, below in entry.items():
                if isinstance(below, list):
                    if title == wanted or wanted in below:
                        return below
                    if found := _section(below, wanted):
                        return found
    return []


def _named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(each)
