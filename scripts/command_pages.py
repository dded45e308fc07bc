"""What ``--help`` says, as data: manual pages and the site's reference are made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pagethrift.cli import main
from pagethrift.cli.completion import PROGRAM, tree
from pagethrift.errors import UsageError

OPTIONS, COMMANDS = "Options", "Commands"
"""headings of what stands in no panel or group"""
Entries = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CommandPage:
    """One command, or the program itself."""

    words: tuple[str, ...]
    """how it is called: ("pagethrift", "lab", "run")"""
    summary: str
    """one line, without a full stop at its end"""
    usage: str
    text: tuple[str, ...]
    """paragraphs, each one line"""
    arguments: Entries
    options: dict[str, Entries]
    """heading of a panel -> its options"""
    commands: dict[str, Entries]
    """group -> commands, of the program and of a command that has commands"""
    examples: tuple[str, ...]
    exit_codes: str
    """"0 done, 2 usage": empty where the command does not say"""

    @property
    def name(self) -> str:
        """The command as a person types it."""
        return " ".join(self.words)

    @property
    def slug(self) -> str:
        """The name for files: pagethrift-lab-run."""
        return "-".join(self.words)


def pages() -> list[CommandPage]:
    """Return the program's page, and one for each command and each command of a command.

    Raises UsageError when an extra is not installed: pages that lack a command would be wrong.
    """
    try:
        group = tree()
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; run make setup") from error
    return list(_pages(group, (PROGRAM,), None))


def _pages(command: Any, words: tuple[str, ...], parent: Any) -> Iterator[CommandPage]:
    context = command.make_context(words[-1], [], parent=parent, resilient_parsing=True)
    children = [command.get_command(context, name) for name in _names(command, context)]
    children = [child for child in children if not child.hidden]
    yield _page(command, context, words, children)
    for child in children:
        yield from _pages(child, (*words, child.name), context)


def _names(command: Any, context: Any) -> list[str]:
    return list(command.list_commands(context)) if hasattr(command, "list_commands") else []


def _page(command: Any, context: Any, words: tuple[str, ...], children: list[Any]) -> CommandPage:
    arguments: Entries = []
    options: dict[str, Entries] = {}
    for param in command.get_params(context):
        if record := param.get_help_record(context):
            names, text = record[0].strip(), _line(record[1])
            if param.param_type_name == "argument":
                arguments.append((names, text))
            else:
                options.setdefault(str(param.rich_help_panel or OPTIONS), []).append((names, text))
    commands: dict[str, Entries] = {}
    program = len(words) == 1
    for child in children:
        heading = main.COMMANDS[child.name][0] if program else COMMANDS
        commands.setdefault(heading, []).append((child.name, _summary(child)))
    said = [*_paragraphs(command.help), *_paragraphs(command.epilog)]
    if program:
        said += _paragraphs(main.__doc__)
    told = _told("Exit codes", said)
    return CommandPage(
        words=words,
        summary=_summary(command).rstrip("."),
        usage=" ".join([*words, *command.collect_usage_pieces(context)]),
        text=tuple(line for line in said if not re.match(r"Exit codes: |Example: |``", line)),
        arguments=arguments,
        options=options,
        commands=commands,
        examples=tuple(_told("Example", said)),
        exit_codes=told[0] if told else "",
    )


def codes(text: str) -> tuple[Entries, str]:
    """Split "0 done, 2 usage. More" at the commas that a number follows; return the codes and the rest."""
    listed, _, more = text.partition(". ")
    parts = re.split(r"[,;] (?=\d+ )", listed.rstrip("."))
    return [(number, words) for number, _, words in (part.partition(" ") for part in parts)], more


def _summary(command: Any) -> str:
    return _line(command.short_help or _paragraphs(command.help)[0])


def _paragraphs(text: str | None) -> list[str]:
    return [_line(part) for part in re.split(r"\n\s*\n", text or "") if part.strip()]


def _line(text: str) -> str:
    return " ".join(text.split())


def _told(word: str, lines: list[str]) -> list[str]:
    return [line.removeprefix(f"{word}: ") for line in lines if line.startswith(f"{word}: ")]
