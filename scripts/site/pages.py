"""Pages of the site that are made: of other files of the sources, of ``--help`` and of the code's tables."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from scripts.command_pages import COMMANDS, OPTIONS, CommandPage, Entries, codes, pages
from scripts.site.links import MOVED

import pagethrift
from pagethrift.errors import UsageError
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import TABLE

ROOT = Path(__file__).resolve().parents[2]
HOME = "index.md"
COMMANDS_FOLDER = "commands"
COMMANDS_INDEX = f"{COMMANDS_FOLDER}/index.md"
STRATEGIES, API = "strategy-table.md", "python-reference.md"
_ERRORS = "errors"


def made() -> dict[str, str]:
    """Return the made pages: path in the site -> Markdown. Raises UsageError when an extra is missing."""
    commands = pages()
    found = {to: (ROOT / path).read_text() for path, to in MOVED.items() if path.endswith(".md")}
    found[HOME] = f"---\nhide: [navigation]\n---\n{found[HOME]}"
    found[MOVED["scenarios"]] = scenarios()
    found |= {command_path(page): command(page) for page in commands}
    found[STRATEGIES] = strategy_table()
    found[API] = python_reference()
    return found


def command_path(page: CommandPage) -> str:
    """Return the path of a command's page in the site."""
    return f"{COMMANDS_FOLDER}/{'-'.join(page.words[1:]) or 'index'}.md"


def command(page: CommandPage) -> str:
    """Return the page of one command."""
    return "".join(f"{line}\n" for line in _command(page))


def _command(page: CommandPage) -> Iterator[str]:
    yield from (f"# {page.name}", "")
    for line in page.text:
        yield from (text(line), "")
    yield from ("```", page.usage, "```", "")
    for example in page.examples:
        yield from ("Example:", "", "```", example, "```", "")
    if page.arguments:
        yield from ("## Arguments", "")
        yield from definitions(page.arguments)
    for title, found in ((COMMANDS, page.commands), (OPTIONS, page.options)):
        yield from ([f"## {title}", ""] if found else [])
        for heading, entries in found.items():
            yield from ([f"### {heading}", ""] if heading != title else [])
            if title == COMMANDS:
                yield from _links(page, entries)
            else:
                yield from definitions(entries)
    if page.exit_codes:
        entries, more = codes(page.exit_codes)
        yield from ("## Exit codes", "", "| code | meaning |", "| --- | --- |")
        yield from (f"| {code} | {text(words)} |" for code, words in entries)
        yield from ("", text(more), "")


def _links(page: CommandPage, entries: Entries) -> Iterator[str]:
    for name, words in entries:
        target = "-".join([*page.words[1:], name])
        yield f"* [`{' '.join([*page.words[1:], name])}`]({target}.md): {text(words)}"
    yield ""


def definitions(entries: Entries) -> Iterator[str]:
    """Yield a definition list: a table of options would not fit a phone."""
    for names, words in entries:
        yield from (f"`{names}`", f":   {text(words)}", "")


def text(line: str) -> str:
    """Return plain text as Markdown that shows it as it is, code between backticks left alone."""
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(part if part[:1] == "`" else _plain(part) for part in parts)


def _plain(part: str) -> str:
    return re.sub(r"([\\`*_{}\[\]|])", r"\\\1", part).replace("&", "&amp;").replace("<", "&lt;")


def strategy_table() -> str:
    """Return the page of all strategies and stop rules, as ``pagethrift strategies`` lists them."""
    return "".join(f"{line}\n" for line in _strategies())


def _strategies() -> Iterator[str]:
    yield from ("# Strategies and stop rules", "")
    yield "What `pagethrift strategies` lists. [Strategies](strategies.md) explains how they were read."
    yield from ("", "## Strategies", "")
    for make in TABLE.values():
        row = make()
        live = f"refused: {row.refuses_live}" if row.refuses_live else row.live or "yes"
        yield from _row(row.name, row.summary, row.source, row.status, row.parameters, live)
    yield from ("## Stop rules", "")
    for name, rule in STOPS.items():
        live = f"refused: {rule.refuses_live}" if rule.refuses_live else "yes"
        yield from _row(name, rule.summary, rule.source, rule.status, rule.parameters, live)


def _row(name: str, summary: str, source: str, status: str, parameters: object, live: str) -> Iterator[str]:
    yield from (f"### {name}", "", text(summary), "")
    facts = {"source": source, "status": str(status), "live": live}
    yield from (f"* {key}: {text(value)}" for key, value in facts.items() if value)
    if isinstance(parameters, dict) and parameters:
        yield "* parameters: " + ", ".join(f"`{key}={value:g}`" for key, value in parameters.items())
    yield ""


def scenarios() -> str:
    """Return the page of all scenario files. Raises UsageError for one without a description."""
    head = "What `pagethrift lab` can run; [the lab](lab.md) explains each field."
    lines = ["# Scenario files", "", head, ""]
    for path in sorted((ROOT / "scenarios").glob("*.toml")):
        content = path.read_text()
        described = tomllib.loads(content).get("description")
        if not described:
            raise UsageError(f"{path}: no description")
        lines += [f"## {path.stem}", "", f"{text(described)}.", "", "```toml", content.strip(), "```", ""]
    return "\n".join(lines)


def python_reference() -> str:
    """Return the page of the names that ``import pagethrift`` offers; mkdocstrings adds docstrings."""
    homes = {name: module for module, names in pagethrift._HOMES.items() for name in names}
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in pagethrift.__all__:
        if name in homes:
            kinds["Classes" if name[0].isupper() else "Functions"].append(name)
        elif not name.startswith("_"):
            homes[name] = _ERRORS
            kinds["Errors"].append(name)
    head = "What `import pagethrift` offers. [pagethrift from Python](python.md) has examples."
    lines = ["# Python reference", "", head, ""]
    for kind, names in kinds.items():
        lines += [f"## {kind}", ""]
        for name in names:
            options = ("    options:", f"      heading: {name}", f"      toc_label: {name}")
            lines += [f"::: pagethrift.{homes[name]}.{name}", *options, ""]
    return "\n".join(lines)
