"""``pagethrift``: the command line.

Exit codes: 0 done, 1 unexpected (replay: decisions differ), 2 usage, 3 stream, 4 link, 5 QMP, 6 lab,
130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys

import typer

from pagethrift import __version__
from pagethrift.cli.collecting import collecting_later
from pagethrift.errors import PagethriftError, UsageError

COMMANDS = {
    "thin": ("pagethrift.cli.thin", "Thin a stream on standard input to standard output."),
    "inspect": ("pagethrift.cli.inspect", "Say what a captured stream holds."),
    "relay": ("pagethrift.cli.relay", "Run the relay alone, for one migration."),
    "migrate": ("pagethrift.cli.migrate", "Migrate a guest through a relay, from start to end."),
    "record": ("pagethrift.cli.record", "Record a content-free dirtying trace of a running guest."),
    "simulate": ("pagethrift.cli.simulate", "One virtual migration of a recorded guest."),
    "sweep": ("pagethrift.cli.sweep", "Many virtual migrations, here or on a Dask cluster."),
    "replay": ("pagethrift.cli.replay", "Compare a live migration's decisions with a fresh planner's."),
    "strategies": ("pagethrift.cli.strategies", "List the strategies and where each comes from."),
    "lab": ("pagethrift.cli.lab", "Two hosts on this machine: check it, run and compare scenarios."),
    "report": ("pagethrift.cli.report", "Result files as something to read."),
}
"""name -> module with a Typer ``app``, and one line of help; only the module called is imported"""

EXTRAS = frozenset({"sweep", "lab", "report"})
"""commands that need packages of the extra that has their name: ``pip install 'pagethrift[lab]'``"""


def main() -> None:
    """Run the command line; errors end on one line with their class's exit code."""
    arguments = sys.argv[1:]
    try:
        if arguments and arguments[0] in COMMANDS:
            module, _ = COMMANDS[arguments[0]]
            with collecting_later():
                app = importlib.import_module(module).app
            app(args=arguments[1:], prog_name=f"pagethrift {arguments[0]}")
        else:
            _overview()()
    except PagethriftError as error:
        print(f"pagethrift: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        package, _, _ = (error.name or "").partition(".")
        command = arguments[0] if arguments else ""
        if command not in EXTRAS or package == "pagethrift":
            raise
        print(
            f"pagethrift {command} needs the {command} extra: pip install 'pagethrift[{command}]'"
            f" ({package} is not installed)",
            file=sys.stderr,
        )
        sys.exit(UsageError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("pagethrift: interrupted", file=sys.stderr)
        sys.exit(130)


def _overview() -> typer.Typer:
    """Return an app that knows the commands by name only, for --help and --version."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        help="Thin QEMU live migrations: never send a byte the destination already holds.",
        epilog="Example: pagethrift migrate --qmp /run/vm1.qmp --to host2:4444 --bandwidth 1Gbit",
    )

    @app.callback(invoke_without_command=True)
    def options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
        if version:
            typer.echo(f"pagethrift {__version__}")

    for name, (_, summary) in COMMANDS.items():
        app.command(name, help=summary)(lambda: None)
    return app
