"""``python -m scripts.manual`` (``make man``): manual pages and shell completion, of the command line itself.

build/man/ has a page for the program and one for each command; build/completions/ has the scripts that Typer
writes for bash, zsh and fish, under the names by which these shells find them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.command_pages import COMMANDS, OPTIONS, CommandPage, Entries, codes, pages
from typer._completion_shared import get_completion_script

from pagethrift import __version__
from pagethrift.cli.completion import PROGRAM
from pagethrift.cli.main import COMPLETING

SECTION = 1
COMPLETIONS = {"bash": PROGRAM, "zsh": f"_{PROGRAM}", "fish": f"{PROGRAM}.fish"}
"""shell -> name of the file"""
ENVIRONMENT = [
    ("PAGETHRIFT_JIT=1", "Compile kernels with Numba instead of using those that were built at set-up."),
    ("PAGETHRIFT_TRACEBACK=1", "Show the traceback of an error as well as its line."),
]
FILES = [
    ("/run/pagethrift", "What migrations that root runs leave for pagethrift restore if they are killed."),
    ("$XDG_RUNTIME_DIR/pagethrift", "The same for other users."),
]
_ROFF = {"\\": r"\e", "-": r"\-", "`": r"\(ga", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}


def roff(text: str) -> str:
    """Return a line of text as roff source: nothing in it is a request, an escape or a ligature."""
    return "".join(_ROFF.get(letter, letter) for letter in text)


def made_on() -> str:
    """Return the day of SOURCE_DATE_EPOCH, or today's."""
    return time.strftime("%Y-%m-%d", time.gmtime(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))


def manual(page: CommandPage, others: list[CommandPage]) -> str:
    """Return a command's manual page; ``others`` are the pages it may refer to."""
    return "".join(f"{line}\n" for line in _lines(page, others))


def _lines(page: CommandPage, others: list[CommandPage]) -> Iterator[str]:
    title = roff(page.slug.upper())
    yield f'.TH {title} {SECTION} {made_on()} "{PROGRAM} {__version__}" "User Commands"'
    yield from (".nh", ".ad l", ".SH NAME", f"{roff(page.slug)} \\- {roff(page.summary)}")
    rest = page.usage.removeprefix(page.name).strip()
    yield from (".SH SYNOPSIS", f".B {roff(page.name)}", roff(rest))
    yield ".SH DESCRIPTION"
    for number, line in enumerate(page.text):
        yield from ([".PP"] if number else [])
        yield _sentence(line)
    if page.arguments:
        yield ".SH ARGUMENTS"
        yield from _entries(page.arguments)
    for title, found in ((COMMANDS, page.commands), (OPTIONS, page.options)):
        yield from ([f".SH {title.upper()}"] if found else [])
        for heading, entries in found.items():
            yield from ([f".SS {roff(heading)}"] if heading != title else [])
            yield from _entries(entries)
    if page.exit_codes:
        yield ".SH EXIT STATUS"
        entries, more = codes(page.exit_codes)
        yield from _entries(entries)
        yield from ([".PP", _sentence(more)] if more else [])
    if len(page.words) == 1:
        for title, entries in (("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
            yield f".SH {title}"
            yield from _entries(entries)
    for example in page.examples:
        yield from (".SH EXAMPLE", ".nf", _sentence(example), ".fi")
    related = [roff(other.slug) for other in others if _related(page, other)]
    if related:
        yield ".SH SEE ALSO"
        yield ",\n".join(f"\\fB{name}\\fR({SECTION})" for name in related)


def _related(page: CommandPage, other: CommandPage) -> bool:
    above, below = page.words[:-1] == other.words, other.words[:-1] == page.words
    return above or below


def _entries(entries: Entries) -> Iterator[str]:
    for names, text in entries:
        yield from (".TP", f".B {roff(names)}", _sentence(text))


def _sentence(text: str) -> str:
    line = roff(text)
    return rf"\&{line}" if line.startswith(".") else line


def write(folder: Path) -> list[Path]:
    """Write all pages and scripts into ``man`` and ``completions`` of a folder; return their paths."""
    made = pages()
    written = {folder / "man" / f"{page.slug}.{SECTION}": manual(page, made) for page in made}
    for shell, name in COMPLETIONS.items():
        script = get_completion_script(prog_name=PROGRAM, complete_var=COMPLETING, shell=shell)
        written[folder / "completions" / shell / name] = f"{script}\n"
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(written)


def main(arguments: list[str] | None = None) -> None:
    """Write the pages and the scripts."""
    parser = argparse.ArgumentParser(prog="python -m scripts.manual", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build"), metavar="DIR")
    out = parser.parse_args(arguments).out
    written = write(out)
    print(f"{out}: {len(written)} manual pages and completion scripts")


if __name__ == "__main__":
    main()
