"""``pagethrift``: the command line.

Exit codes: 0 done, 1 unexpected, 2 usage, 3 stream, 4 link, 5 QMP, 6 lab, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys

import click
import typer
from typer.core import TyperGroup

from pagethrift import __version__
from pagethrift.errors import PagethriftError

_COMMANDS = {
    "thin": ("pagethrift.cli.thin", "Thin a stream on standard input to standard output."),
    "inspect": ("pagethrift.cli.inspect", "Say what a captured stream holds."),
    "relay": ("pagethrift.cli.relay", "Run the relay alone, for one migration."),
    "migrate": ("pagethrift.cli.migrate", "Migrate a guest through a relay, from start to end."),
    "strategies": ("pagethrift.cli.strategies", "List the strategies and where each comes from."),
    "lab": ("pagethrift.cli.lab", "Two hosts on this machine: check it, run a scenario."),
}
"""name -> module with a Typer app, one-line help; a command's libraries load only when it is called"""


class LazyGroup(TyperGroup):
    """Imports a command's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, summary = _COMMANDS[cmd_name]
        if ctx.resilient_parsing is False and cmd_name not in sys.argv:
            return click.Command(cmd_name, short_help=summary)
        command = typer.main.get_command(importlib.import_module(module).app)
        command.short_help = summary
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Thin QEMU live migrations: never send a byte the destination already holds.",
    epilog="Example: pagethrift migrate --qmp /run/vm1.qmp --to host2:4444 --bandwidth 1Gbit",
)


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(f"pagethrift {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; errors end on one line with their class's exit code."""
    try:
        app()
    except PagethriftError as error:
        print(f"pagethrift: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("pagethrift: interrupted", file=sys.stderr)
        sys.exit(130)
