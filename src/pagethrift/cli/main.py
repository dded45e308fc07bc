"""``pagethrift``: the command line.

Exit codes: 0 done, 1 unexpected (replay: decisions differ), 2 usage, 3 stream, 4 link, 5 QMP, 6 lab,
7 the guest runs at neither end or at both, 8 cancelled by another client, 9 the source QEMU ended,
10 a libvirt refused, 130 interrupted, 141 whoever read standard output is gone.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys

import typer

from pagethrift import __version__
from pagethrift.cli.collecting import collecting_later
from pagethrift.cli.exits import TRACEBACK, exit_code_of

_MIGRATE, _LOOK, _STUDY, _LAB = "Migrate", "Look", "Study", "Lab"

COMMANDS = {
    "migrate": (_MIGRATE, "pagethrift.cli.migrate", "Migrate a running guest."),
    "forecast": (
        _MIGRATE,
        "pagethrift.cli.forecast",
        "Say what a migration would take before anything moves.",
    ),
    "set": (_MIGRATE, "pagethrift.cli.set", "Change a running migration: downtime limit, bandwidth."),
    "restore": (
        _MIGRATE,
        "pagethrift.cli.restore",
        "Put back what a killed run left; say where the guest is.",
    ),
    "evacuate": (_MIGRATE, "pagethrift.cli.evacuate", "Empty a host before a deadline."),
    "libvirt": (_MIGRATE, "pagethrift.cli.libvirt", "Migrate libvirt's domains through the relay."),
    "relay": (_MIGRATE, "pagethrift.cli.relay", "Run the relay alone, for one migration."),
    "serve": (_MIGRATE, "pagethrift.cli.serve", "relay --serve: one service for many migrations of a host."),
    "thin": (_MIGRATE, "pagethrift.cli.thin", "Thin a stream from standard input to standard output."),
    "top": (_LOOK, "pagethrift.cli.top", "Show the relays and migrations that run on this host."),
    "report": (_LOOK, "pagethrift.cli.report", "Summarise result files as a page, tables or a chart."),
    "pack": (_LOOK, "pagethrift.cli.pack", "Pack a study's result files into one small archive."),
    "inspect": (_LOOK, "pagethrift.cli.inspect", "Show what a captured stream holds."),
    "strategies": (_LOOK, "pagethrift.cli.strategies", "List the strategies and the stop rules."),
    "record": (_STUDY, "pagethrift.cli.record", "Record which pages a running guest changes."),
    "simulate": (_STUDY, "pagethrift.cli.simulate", "Migrate a recorded guest over a virtual link."),
    "sweep": (_STUDY, "pagethrift.cli.sweep", "Run many simulations, here or on a Dask cluster."),
    "replay": (_STUDY, "pagethrift.cli.replay", "Repeat a live migration's decisions and compare them."),
    "lab": (_LAB, "pagethrift.cli.lab", "Migrate guests between two hosts on this machine."),
}
"""name -> group, module with a Typer ``app``, one line of help; only the called module is imported"""
COMPLETING = "_PAGETHRIFT_COMPLETE"
"""set by a shell that asks what may come next"""


SERVE = "--serve"
"""of relay: a command of its own, with other options"""


def main() -> None:
    """Run the command line; an error prints one line and exits with its class's code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names and labels may hold any character
    if os.environ.get(TRACEBACK) != "1":
        logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)  # what it would say is raised, too
    arguments = sys.argv[1:]
    if arguments[:1] == ["relay"] and SERVE in arguments:
        arguments = ["serve", *(each for each in arguments[1:] if each != SERVE)]
    command = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    sys.exit(exit_code_of(lambda: _run(command, arguments), command))


def _run(command: str, arguments: list[str]) -> None:
    if COMPLETING in os.environ:
        from pagethrift.cli.completion import complete

        complete()
    if command:
        _, module, _ = COMMANDS[command]
        with collecting_later():
            app = importlib.import_module(module).app
        arguments = arguments[1:]
    else:
        app = overview()
    # not app(): it ends the process itself, on a page of its own for some errors
    parser = typer.main.get_command(app)
    with parser.make_context(f"pagethrift {command}".rstrip(), arguments) as context:
        parser.invoke(context)


def overview() -> typer.Typer:
    """Return an app that knows the commands by name only, for --help, --version and completion."""
    app = typer.Typer(
        no_args_is_help=True,
        help="Thin QEMU live migrations: never send a byte the destination already holds.",
        epilog="Example: pagethrift migrate --qmp /run/vm1.qmp --to host2:4444 --bandwidth 1Gbit",
    )

    @app.callback(invoke_without_command=True)
    def options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
        if version:
            typer.echo(f"pagethrift {__version__}")

    for name, (group, _, summary) in COMMANDS.items():
        app.command(name, help=summary, rich_help_panel=group)(lambda: None)
    return app
