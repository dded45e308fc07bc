"""Links between documents, from where they stand in the sources to where they stand in the site.

The documents' links work on any page that shows the repository. In the site some files stand elsewhere, and
most are not there at all: results, for instance, would weigh more than all pages.
"""

from __future__ import annotations

import html
import posixpath
import re

MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "traces/README.md": "traces.md",
    "scenarios": "scenarios.md",
}
"""path in the sources -> page of the site; all of docs/ stands at its top"""
_ORIGINS = {page: path for path, page in MOVED.items()}
_SCENARIO = re.compile(r"scenarios/([\w-]+)\.toml")
_TOKEN = re.compile(
    r"^```.*?^```$"
    r"|(?P<picture>!?)\[(?P<text>(?:`[^`\n]+`|[^\[\]`])*)\]\((?P<target>[^)\s]+)\)"
    r"|`[^`\n]+`",
    re.MULTILINE | re.DOTALL,
)
"""what holds a link, and what only looks as if it did"""


def origin(page: str) -> str:
    """Return the path in the sources of a page of the site."""
    return _ORIGINS.get(page, f"docs/{page}")


def rewritten(markdown: str, page: str, pages: frozenset[str], sources: str) -> str:
    """Return a document with the links it needs as a page of the site.

    ``pages`` are the site's files. What is not among them becomes a link below the address ``sources``, or
    without one a hint where it stands.
    """
    folder = posixpath.dirname(origin(page))

    def link(found: re.Match[str]) -> str:
        target = found["target"]
        if not target or target.startswith("#") or re.match(r"[a-z]+:", target):
            return found[0]
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        to, anchor = _home(path, anchor)
        if to in pages:
            there = posixpath.relpath(to, posixpath.dirname(page) or ".")
            return f"{found['picture']}[{found['text']}]({there}{'#' * bool(anchor)}{anchor})"
        if sources:
            return f"{found['picture']}[{found['text']}]({sources.rstrip('/')}/{path})"
        return f'<abbr title="{html.escape(path)} in the sources">{found["text"]}</abbr>'

    return _TOKEN.sub(link, markdown)


def _home(path: str, anchor: str) -> tuple[str, str]:
    if scenario := _SCENARIO.fullmatch(path):
        return MOVED["scenarios"], scenario[1]
    return MOVED.get(path) or path.removeprefix("docs/"), anchor
