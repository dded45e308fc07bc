"""The command line as one tree: a shell asks it what may come next, and pages are made of it.

Typer writes the shells' scripts (``pagethrift --show-completion``). They call pagethrift again at each TAB,
with the words so far in the environment.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from typing import Any

import typer

from pagethrift.cli.main import COMMANDS, overview

PROGRAM = "pagethrift"
_WORDS = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")
"""where bash, and where zsh and fish, hold the words so far"""


def tree(names: Iterable[str] = COMMANDS) -> Any:
    """Return the program's Click group with these commands whole; of the others it has name and summary.

    Raises ModuleNotFoundError when a command needs an extra that is not installed.
    """
    group: Any = typer.main.get_command(overview())
    for name in names:
        _, module, summary = COMMANDS[name]
        command: Any = typer.main.get_command(importlib.import_module(module).app)
        command.name, command.short_help = name, summary
        group.commands[name] = command
    return group


def complete() -> None:
    """Answer the shell that asks, and end the process. What cannot be answered is answered with nothing."""
    words = next((os.environ[name].split() for name in _WORDS if name in os.environ), [])
    try:
        whole = tree(name for name in words[1:2] if name in COMMANDS)
    except ModuleNotFoundError:  # of an extra; calling the command says so
        whole = tree(())
    whole.main(args=[], prog_name=PROGRAM)
